/** Returns the p-quantile of a list of numbers, in their unit. */
export function quantile(values: readonly number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? Number.NaN;
}

/** Runs `work`; returns its duration in ms. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** One measured figure and the limits that it must keep. */
export interface Figure {
  readonly what: string;
  readonly value: number;
  readonly unit: string;
  /** The upper limit. A figure without limits is printed for information. */
  readonly limit?: number;
  readonly atLeast?: number;
}

/** Prints the figures as a table; returns the number of figures that break their limits. */
export function printFigures(title: string, figures: readonly Figure[]): number {
  const rows = figures.map((figure) => {
    return [figure.what, `${figure.value.toFixed(2)} ${figure.unit}`, verdictOn(figure)] as const;
  });
  const width = Math.max(...rows.map(([what]) => what.length));
  const lines = rows.map(
    ([what, value, verdict]) => `  ${what.padEnd(width)}  ${value.padStart(12)}  ${verdict}`,
  );
  process.stdout.write(`\n${title}\n${lines.join('\n')}\n`);
  return rows.filter(([, , verdict]) => /^(OVER|UNDER)/.test(verdict)).length;
}

function verdictOn({ value, unit, limit, atLeast }: Figure): string {
  if (limit !== undefined) return `${value <= limit ? 'ok' : 'OVER'} (≤ ${limit} ${unit})`;
  if (atLeast !== undefined) return `${value >= atLeast ? 'ok' : 'UNDER'} (≥ ${atLeast} ${unit})`;
  return '';
}
