import { isUtf8 } from 'node:buffer';
import type { Name } from './calls.ts';

/** Where something lies below a root; undefined: the root itself. A path of any length. */
export interface Place {
  readonly parent: Place | undefined;
  readonly name: Name;
}

/** Returns the names from the root to a place. */
export function namesTo(place: Place | undefined): Name[] {
  const names: Name[] = [];
  for (let at = place; at !== undefined; at = at.parent) names.push(at.name);
  return names.reverse();
}

const longest = 400;

/** Returns a path as a person can read it: control characters and foreign bytes are escaped, the middle is left out. */
export function printablePath(place: Place | undefined): string {
  const path = ['.', ...namesTo(place).map(printableName)].join('/');
  if (path.length <= longest) return path;
  return `${path.slice(0, longest / 2)}…${path.slice(-longest / 2)}`;
}

function printableName(name: Name): string {
  const bytes = name.subarray(0, -1);
  if (isUtf8(bytes)) {
    return bytes.toString('utf8').replaceAll(/[\p{C}\p{Zl}\p{Zp}\\]/gu, escapeCharacter);
  }
  return bytes
    .toString('latin1')
    .replaceAll(/[^ -[\]-~]/g, (byte) => `\\x${byte.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

function escapeCharacter(character: string): string {
  return character === '\\' ? '\\\\' : `\\u{${character.codePointAt(0)?.toString(16)}}`;
}
