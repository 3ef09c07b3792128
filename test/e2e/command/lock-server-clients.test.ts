// docs/lock-server.md and its examples: programs in other languages share the locks of `berth lock serve` with the
// lock library.
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { repository } from '../../support/berth.ts';
import { makeCertificates } from '../../support/certificates.ts';
import type { ServedFile } from '../../support/lock-server.ts';
import { holdByCurl, serveFile, startLockServer } from '../../support/lock-server.ts';
import { runProcess, startProcess, waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';

let stack: AsyncDisposableStack;
let { directory, file, library, url } = {} as ServedFile;
let names = 0;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  ({ directory, file, library, url } = await serveFile(stack));
});
afterAll(() => stack.disposeAsync());

const newName = () => {
  names += 1;
  return `a lock/${names}`;
};

const examples = [
  ['http-lock.sh', ['curl', 'jq']],
  ['http-lock.py', ['python3']],
] as const;

describe.each(examples)('%s', (program, requirements) => {
  const example = (server: string, name: string, command: readonly string[], env = {}) =>
    startProcess(join(repository, 'docs/examples', program), [name, ...command], {
      env: { LOCKS: server, ...env },
    });

  describeWith(requirements, 'as a client of the lock server', () => {
    test('waits for a holder of the library, says so, and passes its code and the token on', async () => {
      const name = newName();
      const held = await library.lock(name);
      await using waiting = example(url, name, [
        'sh',
        '-c',
        'echo "token $BERTH_LOCK_TOKEN"; exit 7',
      ]);
      await waitFor(() => waiting.output(), 10_000, 'the example to wait');
      const behind = library.lock(name);
      await held.unlock();
      const { stdout, stderr, code } = await waiting.finished;
      expect(code).toBe(7);
      expect(stderr).toMatch(/^http-lock: waiting for host n2 \(Deploy\), since \S+\n$/);
      const token = Number(/token (\d+)/.exec(stdout)?.[1]);
      expect(token).toBeGreaterThan(held.token);
      const next = await behind;
      expect(next.token).toBeGreaterThan(token);
      await next.unlock();
    });

    test('counts together with the library and others, and loses no count', async () => {
      const name = newName();
      const counted = join(directory.path, program);
      await writeFile(counted, '0');
      const add = `n=$(cat ${counted}); sleep 0.1; echo -n $((n + 1)) > ${counted}`;
      const running = [1, 2, 3].map(() => example(url, name, ['sh', '-c', add]));
      for (let i = 0; i < 20; i += 1) {
        await using _ = await library.lock(name);
        const before = Number(await readFile(counted, 'utf8'));
        await writeFile(counted, `${before + 1}`);
      }
      for (const each of running) expect((await each.finished).code).toBe(0);
      expect(await readFile(counted, 'utf8')).toBe('23');
    });

    test('exits with 4 when another has the lock, or somebody has disabled it', async () => {
      const name = newName();
      const held = await library.lock(name);
      await using refused = example(url, name, ['true'], { WAIT_MS: '0' });
      const { code, stderr } = await refused.finished;
      expect({ code, stderr }).toEqual({ code: 4, stderr: expect.stringContaining('host n2') });
      await using waiting = example(url, name, ['true']);
      await waitFor(() => waiting.output(), 10_000, 'the example to wait');
      await library.disable(name, { why: 'upgrade' });
      const end = await waiting.finished;
      expect(end).toMatchObject({ code: 4, stderr: expect.stringContaining('upgrade') });
      await held.unlock();
    });

    test('exits with 6 when the server stops while it waits', async () => {
      const name = newName();
      const held = await library.lock(name);
      await using server = await startLockServer(file);
      await using waiting = example(server.url, name, ['true']);
      await waitFor(() => waiting.output(), 10_000, 'the example to wait');
      server.process.kill('SIGTERM');
      const { code, stderr } = await waiting.finished;
      expect({ code, stderr }).toEqual({
        code: 6,
        stderr: expect.stringContaining('the lock server stops'),
      });
      await held.unlock();
    });

    test('shows no control character of others at the terminal', async () => {
      const name = newName();
      const held = await library.lock(name, { reason: 'Up\u001b[2Jgrade', holder: 'n\u00079' });
      await using waiting = example(url, name, ['true']);
      await waitFor(() => waiting.output(), 10_000, 'the example to wait');
      await held.unlock();
      const { stderr } = await waiting.finished;
      expect(stderr).toMatch(/waiting for host n\?9 \(Up\?\[2Jgrade\), since \S+\n$/);
      const again = await library.lock(name, { reason: 'Up\u001b[2Jgrade' });
      await using refused = example(url, name, ['true'], { WAIT_MS: '0' });
      expect((await refused.finished).stderr).toContain('Up?[2Jgrade');
      await again.unlock();
    });

    test.each([
      ['its lock is cleared', async (name: string) => breakIt(name)],
      ['the server is killed', 'SIGKILL'],
      ['the server stops', 'SIGTERM'],
      ['the server is frozen', 'SIGSTOP'],
    ] as const)('kills its command with all that it has started when %s', async (_why, lose) => {
      const name = newName();
      const written = join(directory.path, `${program}-${names}`);
      await using server = await startLockServer(file, ['--ttl', '3s']);
      const write = `(while :; do echo >> ${written}; sleep 0.05; done)`;
      await using holding = example(server.url, name, ['sh', '-c', write]);
      await waitFor(() => holding.hasExited || existsSync(written), 10_000, 'the command to run');
      expect(holding.output()).toBe('');
      if (typeof lose === 'string') server.process.kill(lose);
      else await lose(name);
      const { code, stderr } = await holding.finished;
      expect(code).toBe(5);
      expect(stderr).toContain(`the lock ${name} was lost`);
      const lines = (await readFile(written)).length;
      // It needs ten times as long as one line of the command.
      await (await library.lock(newName())).unlock();
      await runProcess('sleep', ['0.5']);
      expect((await readFile(written)).length).toBe(lines);
    });

    test('sends its token over TLS, and says when it is wrong', async () => {
      const { ca, cert, key } = await makeCertificates(directory.path, ['127.0.0.1']);
      const tokenFile = join(directory.path, 'token');
      await writeFile(tokenFile, 'a token of more than 16 characters\n', { mode: 0o600 });
      const flags = ['--tls-cert', cert, '--tls-key', key, '--token-file', tokenFile];
      await using server = await startLockServer(file, flags);
      const env = { CA: ca, TOKEN_FILE: tokenFile };
      await using good = example(server.url, newName(), ['true'], env);
      expect(await good.finished).toMatchObject({ code: 0, stderr: '' });
      await using bad = example(server.url, newName(), ['true'], { CA: ca });
      const { code, stderr } = await bad.finished;
      expect({ code, stderr }).toEqual({ code: 6, stderr: expect.stringContaining('no token') });
      await using untrusted = example(server.url, newName(), ['true'], { TOKEN_FILE: tokenFile });
      expect((await untrusted.finished).code).toBe(6);
    });

    async function breakIt(name: string): Promise<void> {
      const [ticket] = await library.inspect(name);
      if (ticket) await library.breakLock(ticket);
    }
  });
});

describeWith(['curl', 'jq', 'python3'], 'the page about the lock server', () => {
  test('its commands for the loopback work as they stand there', async () => {
    const page = await readFile(join(repository, 'docs/lock-server.md'), 'utf8');
    const blocks = [...page.matchAll(/```sh\n(.*?)```/gs)].map(([, text = '']) => text);
    const local = blocks.filter((text) => /127\.0\.0\.1:7020\//.test(text) || /LOCKS=/.test(text));
    expect(local).toHaveLength(3);
    const [hold = '', requests = '', scripts = ''] = local.map((text) =>
      text.replaceAll('http://127.0.0.1:7020', url),
    );
    await using holding = startProcess('sh', ['-c', `exec ${hold}`]);
    await waitFor(() => holding.output().includes('"granted"'), 10_000, 'the lock of the page');
    const asked = await runProcess('sh', ['-ec', requests], { cwd: repository });
    expect(asked.stdout).toContain('"reason":"backup"');
    expect(asked.stdout).toContain('"why":"upgrade of n3"');
    expect(asked.code).toBe(0);
    await holding.stop();
    await waitFor(async () => (await library.inspect('nightly')).length === 0, 5_000, 'its end');
    const run = await runProcess('sh', ['-ec', scripts], { cwd: repository });
    expect(run).toMatchObject({ code: 0, stdout: 'under the lock\nunder the lock\n' });
  });

  test('its table names each event that a server sends', async () => {
    const page = await readFile(join(repository, 'docs/lock-server.md'), 'utf8');
    const source = await readFile(join(repository, 'lib/lock/server/events.ts'), 'utf8');
    const events = [...source.matchAll(/readonly event: '(\w+)'/g)].map(([, name]) => name);
    const rows = [...page.matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name);
    expect(events).not.toEqual([]);
    expect(rows).toEqual(expect.arrayContaining(events));
  });
});

describeWith(['curl'], 'a lock server with many clients', () => {
  test('refuses more than its limit of requests, and goes on for the others', async () => {
    const { serveLocks } = await import('../../../lib/lock/server/listen.ts');
    await using small = await serveLocks({
      locks: library,
      ttlMs: 15_000,
      address: '127.0.0.1',
      port: 0,
      maxHolds: 2,
    });
    await using first = holdByCurl(small.url, 'one');
    await using second = holdByCurl(small.url, 'two');
    await Promise.all([first.line('granted'), second.line('granted')]);
    await using third = holdByCurl(small.url, 'three');
    await third.process.finished;
    expect(third.lines()[0]?.error).toMatchObject({ code: 'unavailable' });
    first.process.kill('SIGKILL');
    await waitFor(async () => (await library.inspect('one')).length === 0, 5_000, 'the first end');
    await using fourth = holdByCurl(small.url, 'three');
    await fourth.line('granted');
  });
});
