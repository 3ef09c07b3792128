/**
 * Converts any text for a column, which takes no NUL and no lone surrogate. These characters, and
 * the percent sign that marks them, become `%<hexadecimal>;`.
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
