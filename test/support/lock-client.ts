// A client of a lock server that reads the lines of its request in this process.
import type { Line } from './lock-server.ts';
import { waitFor } from './processes.ts';

export interface LockClient extends AsyncDisposable {
  lines(): Line[];
  /** Waits for a line with this event, and returns the first. */
  line(event: string): Promise<Line>;
  /** Closes the connection. */
  close(): void;
}

export async function holdByFetch(url: string, name: string, body = {}): Promise<LockClient> {
  const leaving = new AbortController();
  const answer = await postJson(`${url}/v1/locks/${name}`, body, leaving.signal);
  let text = '';
  const read = async () => {
    for await (const chunk of answer.body ?? []) text += Buffer.from(chunk).toString('utf8');
  };
  // It ends with an error when the test closes the connection.
  const reading = read().catch(() => undefined);
  const lines = () =>
    text
      .split('\n')
      .slice(0, -1)
      .map((line): Line => JSON.parse(line));
  return {
    lines,
    async line(event) {
      const found = () => lines().find((each) => each.event === event);
      await waitFor(found, 20_000, `a line ${event}`);
      return found() ?? {};
    },
    close: () => leaving.abort(),
    async [Symbol.asyncDispose]() {
      leaving.abort();
      await reading;
    },
  };
}

export function postJson(url: string, body: object, signal?: AbortSignal): Promise<Response> {
  const headers = { 'Content-Type': 'application/json' };
  const sent = { method: 'POST', headers, body: JSON.stringify(body) };
  return fetch(url, signal ? { ...sent, signal } : sent);
}
