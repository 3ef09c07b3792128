/**
 * Draws the house from its imports: which rooms there are and which uses which, so that the drawing
 * in ARCHITECTURE.md can be compared with the code.
 *
 * `npm run rooms` prints the top of the house, `npm run rooms -- lib/lock` the rooms of one folder.
 * It fails on a circle of imports, also on one of types only, which the linter does not report, and
 * when the top has more rooms or arrows than the house may have.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { sourceParts } from './tidy/source-text.ts';
import { pathsBelow } from './tidy/tree.ts';

const shipped = ['cli', 'lib', 'plugin', 'sentinel'];
/** Folders within which rooms must not use each other in a circle either. */
const foldersOfRooms = ['lib/volumes', 'plugin'];
const mostRooms = 14;
const mostArrows = 20;

/** The imports of each file, by path. */
export type ImportGraph = ReadonlyMap<string, readonly string[]>;

export function importGraph(root: string): ImportGraph {
  const files = pathsBelow(root).filter((path) => /\.(ts|mjs)$/.test(path));
  return new Map(
    files
      .filter((path) => existsSync(join(root, path)))
      .map((path) => [path, importsOf(path, readFileSync(join(root, path), 'utf8'))]),
  );
}

/** Relative imports, exports and dynamic imports, of values and of types. */
function importsOf(path: string, source: string): string[] {
  const parts = [...sourceParts(source)].filter(({ kind }) => kind === 'code' || kind === 'string');
  const found = parts.flatMap(({ kind, text }, index) => {
    const before = parts[index - 1]?.text ?? '';
    const target = source.slice(parts[index]?.start).slice(1, text.length - 1);
    const isImport = kind === 'string' && /(\bfrom|\bimport|\bimport\()\s*$/.test(before);
    return isImport && target.startsWith('.') ? [normalize(join(dirname(path), target))] : [];
  });
  return [...new Set(found)];
}

/** The room at the top of a file that is shipped; tests and tools may import from everywhere. */
export function topRoom(path: string): string | undefined {
  const [first = '', second = ''] = path.split('/');
  if (!shipped.includes(first)) return undefined;
  return first === 'lib' ? `lib/${second}` : first;
}

/** The room of a file within a folder: the next folder or the file itself. */
function roomWithin(folder: string): (path: string) => string | undefined {
  return (path) =>
    path.startsWith(`${folder}/`) ? path.slice(folder.length + 1).split('/')[0] : undefined;
}

export type Arrows = ReadonlyMap<string, ReadonlySet<string>>;

export function arrowsBetween(
  graph: ImportGraph,
  roomOf: (path: string) => string | undefined,
): Arrows {
  const arrows = new Map<string, Set<string>>();
  for (const [path, imports] of graph) {
    const room = roomOf(path);
    if (room === undefined) continue;
    const uses = arrows.get(room) ?? new Set();
    arrows.set(room, uses);
    for (const target of imports) {
      const other = roomOf(target);
      if (other !== undefined && other !== room) uses.add(other);
    }
  }
  return arrows;
}

/** A path through the arrows that ends where it began, if there is one. */
export function circleIn(arrows: ReadonlyMap<string, Iterable<string>>): string[] | undefined {
  const done = new Set<string>();
  const visit = (node: string, way: readonly string[]): string[] | undefined => {
    if (way.includes(node)) return [...way.slice(way.indexOf(node)), node];
    if (done.has(node)) return undefined;
    for (const next of arrows.get(node) ?? []) {
      const circle = visit(next, [...way, node]);
      if (circle) return circle;
    }
    done.add(node);
    return undefined;
  };
  for (const node of arrows.keys()) {
    const circle = visit(node, []);
    if (circle) return circle;
  }
  return undefined;
}

function draw(arrows: Arrows): string {
  const width = Math.max(...[...arrows.keys()].map((room) => room.length));
  return [...arrows]
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([room, uses]) => `${room.padEnd(width)}  → ${[...uses].sort().join(', ') || '-'}\n`)
    .join('');
}

/** Names what the house must not have: circles, too many rooms, too many arrows. */
export function roomFaults(graph: ImportGraph): string[] {
  const top = arrowsBetween(graph, topRoom);
  const arrowCount = countArrows(top);
  const circles = [
    { what: 'imports', circle: circleIn(graph) },
    { what: 'rooms', circle: circleIn(top) },
    ...foldersOfRooms.map((folder) => ({
      what: `rooms in ${folder}`,
      circle: circleIn(arrowsBetween(graph, roomWithin(folder))),
    })),
  ];
  return [
    ...circles.flatMap(({ what, circle }) =>
      circle ? [`a circle of ${what}: ${circle.join(' → ')}`] : [],
    ),
    ...(top.size > mostRooms ? [`${top.size} rooms at the top, at most ${mostRooms}`] : []),
    ...(arrowCount > mostArrows ? [`${arrowCount} arrows at the top, at most ${mostArrows}`] : []),
  ];
}

function countArrows(arrows: Arrows): number {
  return [...arrows.values()].reduce((sum, uses) => sum + uses.size, 0);
}

if (import.meta.main) {
  const [folder] = process.argv.slice(2);
  const graph = importGraph(process.cwd());
  const arrows = arrowsBetween(graph, folder === undefined ? topRoom : roomWithin(folder));
  process.stdout.write(`${draw(arrows)}${arrows.size} rooms, ${countArrows(arrows)} arrows\n`);
  const faults = roomFaults(graph);
  process.stdout.write(faults.map((fault) => `rooms: ${fault}\n`).join(''));
  process.exitCode = faults.length === 0 ? 0 : 1;
}
