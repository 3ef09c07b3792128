/**
 * Splits TypeScript and JavaScript into comments, strings and code. Each part keeps its place:
 * `text` has the length of its source, with comment markers and quotes blanked, so that a phrase
 * is found although it is wrapped, and an index gives its line.
 */

export interface SourcePart {
  readonly kind: 'doc' | 'comment' | 'string' | 'code';
  readonly text: string;
  readonly start: number;
}

/** Keywords after which a slash begins a regular expression. */
const beforeExpression = new Set(
  'return typeof case in of do else void throw delete await yield instanceof new'.split(' '),
);

export function* sourceParts(source: string): Generator<SourcePart> {
  let codeStart = 0;
  let index = 0;
  /** Depth of braces at which each open template literal goes on. */
  const templates: number[] = [];
  let depth = 0;
  const code = (end: number): SourcePart[] =>
    end > codeStart ? [{ kind: 'code', text: source.slice(codeStart, end), start: codeStart }] : [];
  while (index < source.length) {
    const two = source.slice(index, index + 2);
    const character = source[index] ?? '';
    let end: number;
    let kind: SourcePart['kind'];
    if (two === '//') {
      end = endOfLineComments(source, index);
      kind = 'comment';
    } else if (two === '/*') {
      const close = source.indexOf('*/', index + 2);
      end = close < 0 ? source.length : close + 2;
      kind = source[index + 2] === '*' ? 'doc' : 'comment';
    } else if (character === "'" || character === '"') {
      end = endOfString(source, index, character);
      kind = 'string';
    } else if (character === '`' || (character === '}' && templates.at(-1) === depth)) {
      if (character === '}') templates.pop();
      end = endOfTemplate(source, index + 1);
      if (source.slice(end - 2, end) === '${' && source[end - 1] === '{') templates.push(depth);
      kind = 'string';
    } else {
      if (character === '{') depth += 1;
      if (character === '}') depth -= 1;
      index =
        character === '/' && isExpression(source, index) ? endOfRegExp(source, index) : index + 1;
      continue;
    }
    yield* code(index);
    yield { kind, text: blank(source.slice(index, end), kind), start: index };
    index = codeStart = end;
  }
  yield* code(source.length);
}

/** Comments on successive lines are one. */
function endOfLineComments(source: string, start: number): number {
  const rest = /(?:\/\/[^\n]*(?:\n[ \t]*(?=\/\/))?)+/y;
  rest.lastIndex = start;
  return rest.test(source) ? rest.lastIndex : source.length;
}

function endOfString(source: string, start: number, quote: string): number {
  for (let index = start + 1; index < source.length; index++) {
    if (source[index] === '\\') index += 1;
    else if (source[index] === quote || source[index] === '\n') return index + 1;
  }
  return source.length;
}

/** Ends after the closing backtick or after the opening of a substitution. */
function endOfTemplate(source: string, start: number): number {
  for (let index = start; index < source.length; index++) {
    if (source[index] === '\\') index += 1;
    else if (source[index] === '`') return index + 1;
    else if (source.startsWith('${', index)) return index + 2;
  }
  return source.length;
}

function isExpression(source: string, slash: number): boolean {
  const before = source.slice(Math.max(0, slash - 40), slash).trimEnd();
  const word = /[\w$]+$/.exec(before)?.[0];
  if (word !== undefined) return beforeExpression.has(word);
  return !/[)\]}]$/.test(before);
}

function endOfRegExp(source: string, start: number): number {
  let isInClass = false;
  for (let index = start + 1; index < source.length; index++) {
    const character = source[index];
    if (character === '\\') index += 1;
    else if (character === '[') isInClass = true;
    else if (character === ']') isInClass = false;
    else if (character === '\n' || (character === '/' && !isInClass)) return index + 1;
  }
  return source.length;
}

function blank(text: string, kind: SourcePart['kind']): string {
  const spaces = (match: string) => match.replace(/[^\n]/g, ' ');
  if (kind === 'string') return text.replace(/^['"`}]|['"`]$|\$\{$/g, spaces);
  return text.replace(/^\/\*+|\*+\/$|^[ \t]*\*(?=\s)|(?:^|(?<=\n))[ \t]*\/\/+/gm, spaces);
}

/** The number of the line in which an index lies, counted from 1. */
export function lineAt(source: string, index: number): number {
  let line = 1;
  for (let at = source.indexOf('\n'); at >= 0 && at < index; at = source.indexOf('\n', at + 1)) {
    line += 1;
  }
  return line;
}
