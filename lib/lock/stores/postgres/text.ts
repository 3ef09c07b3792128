/**
 * Names are any text, and a column is not: it takes no NUL and no half of a surrogate pair. Those,
 * and the percent sign that marks them, are written as `%<hexadecimal>;`.
 */
export function toColumn(text: string): string {
  return text.replace(
    /[%\0\p{Surrogate}]/gu,
    (char) => `%${(char.codePointAt(0) ?? 0).toString(16)};`,
  );
}

export function fromColumn(column: string): string {
  return column.replace(/%([0-9a-f]+);/g, (_, code) =>
    String.fromCharCode(Number.parseInt(code, 16)),
  );
}
