// The PostgreSQL servers of the tests. PostgreSQL is real; one test waits 0.7 s of real time.

import { expect, test } from '@jest/globals';
import type { Postgres } from './postgres-server.ts';
import { startPostgres } from './postgres-server.ts';
import { describeWith } from './requirements.ts';

/** Asks the server by psql; rejects when it does not answer within half a second. */
function answerOf(server: Postgres): Promise<string> {
  return server.psql("SET statement_timeout = '500ms'; SELECT 'here'");
}

describeWith(['postgres'], 'PostgreSQL for tests', () => {
  test('the server accepts its password and syncs each commit to the disk', async () => {
    await using server = await startPostgres();
    expect(await answerOf(server)).toBe('here');
    expect(await server.psql('SHOW fsync; SHOW synchronous_commit; SHOW port')).toBe(
      `on\non\n${server.port}`,
    );
    expect(server.log()).not.toContain('FATAL');
  });

  test('a killed server restarts with its data on the same port', async () => {
    await using server = await startPostgres();
    await server.psql('CREATE TABLE kept AS SELECT 7 AS number');
    await server.kill();
    await expect(answerOf(server)).rejects.toThrow();
    await server.restart();
    expect(await server.psql('SELECT number FROM kept')).toBe('7');
  });

  test('a paused server does not answer until it is resumed', async () => {
    await using server = await startPostgres();
    await server.pause();
    let hasAnswered = false;
    const answer = answerOf(server).finally(() => {
      hasAnswered = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect(hasAnswered).toBe(false);
    await server.resume();
    expect(await answer).toBe('here');
  });

  test("a server's processes end with its block, even while it is paused", async () => {
    const pids: number[] = [];
    {
      await using server = await startPostgres();
      pids.push(...(await server.pids()));
      await server.pause();
    }
    expect(pids.length).toBeGreaterThan(4);
    for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow('ESRCH');
  });
});
