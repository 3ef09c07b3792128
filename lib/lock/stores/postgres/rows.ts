import type { Gate, Ticket } from '../../ticket.ts';
import { parseChange, parseGate, ticketSchema } from '../../ticket-schema.ts';
import type { StoreChange, StoredRecord } from '../ticket-store.ts';
import type { Row } from './connections.ts';
import { fromColumn } from './text.ts';

export function toTicket(row: Row): Ticket {
  return parseTicket(text(row, 'ticket'));
}

export function parseTicket(text: string): Ticket {
  return ticketSchema.parse(JSON.parse(text));
}

/** Returns gates by lock name. */
export function toGates(texts: readonly string[]): Gate[] {
  return texts.map(parseGate).sort((a, b) => (a.lockName < b.lockName ? -1 : 1));
}

export function toChange(row: Row): StoreChange {
  return parseChange(text(row, 'change'));
}

export function toRecord(row: Row): StoredRecord {
  return {
    key: fromColumn(text(row, 'key')),
    value: fromColumn(text(row, 'value')),
    revision: number(row, 'revision'),
  };
}

export function text(row: Row | undefined, column: string): string {
  const value = row?.[column];
  if (typeof value !== 'string') throw new Error(`the lock store has no text in ${column}`);
  return value;
}

/** Reads a number, also an int8 or a numeric, which arrive as text. */
export function number(row: Row | undefined, column: string): number {
  const value = row?.[column];
  const parsed = typeof value === 'string' ? Number(value) : value;
  if (typeof parsed !== 'number' || Number.isNaN(parsed)) {
    throw new Error(`the lock store has no number in ${column}`);
  }
  return parsed;
}

export function flag(row: Row | undefined, column: string): boolean {
  return row?.[column] === true;
}

export function texts(row: Row | undefined, column: string): string[] {
  const value = row?.[column];
  if (!Array.isArray(value)) throw new Error(`the lock store has no list in ${column}`);
  return value.map(String);
}
