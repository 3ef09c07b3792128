// The lock library as others install it: packed by npm, installed into an empty project, and its README
// run there on Node 22 and 24, with `import`, `require` and TypeScript; real servers, real time.
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { repository } from '../support/berth.ts';
import type { Etcd } from '../support/etcd-server.ts';
import { startEtcd } from '../support/etcd-server.ts';
import type { Postgres } from '../support/postgres-server.ts';
import { startPostgres } from '../support/postgres-server.ts';
import type { FinishedProcess } from '../support/processes.ts';
import { runProcess } from '../support/processes.ts';
import { describeWith } from '../support/requirements.ts';
import type { TemporaryDirectory } from '../support/temporary-directory.ts';
import { makeTemporaryDirectory } from '../support/temporary-directory.ts';
import { earlierNode } from '../support/tools.ts';
import { Project, packLibrary } from './project.ts';
import { commonJsPrograms, modulePrograms, typescriptProgram } from './readme-programs.ts';

const nodes = { 'Node 22': earlierNode(), 'Node 24': process.execPath };
const formats = { import: 'mjs', require: 'cjs' };

describeWith(['earlier-node', 'etcd', 'postgres', 'root'], 'the packed lock library', () => {
  let directory: TemporaryDirectory;
  let small: Project;
  let full: Project;
  let etcd: Etcd;
  let postgres: Postgres;

  beforeAll(async () => {
    directory = await makeTemporaryDirectory();
    const at = async (name: string) => {
      await mkdir(join(directory.path, name));
      return join(directory.path, name);
    };
    const archive = await packLibrary(await at('package'));
    small = new Project(await at('small'));
    await small.install(archive);
    full = new Project(await at('full'));
    await full.install(
      archive,
      ...(await versionsOf('etcd3', '@grpc/grpc-js', 'cockatiel', 'pg', 'debug')),
    );
    [etcd, postgres] = await Promise.all([startEtcd(), startPostgres()]);
    await writePrograms(full, {
      'etcd://n1:2379,n2:2379,n3:2379': etcd.url,
      'postgres://app:secret@db:5432/app': postgres.url,
    });
  });
  afterAll(async () => {
    await Promise.all([etcd?.[Symbol.asyncDispose](), postgres?.stop()]);
    await directory?.[Symbol.asyncDispose]();
  });

  test('brings no more than three packages for memory and SQLite', async () => {
    expect((await small.packages()).length).toBeLessThanOrEqual(3);
  });

  test.each(Object.entries(nodes))('runs its README on %s', async (_, node) => {
    const programs = (await full.names()).filter((name) => /^example.*\.[mc]js$/.test(name)).sort();
    expect(programs.length).toBe(8); // Three examples and all in TypeScript, as both kinds of module.
    for (const name of programs) expectQuiet(await full.run(node, name));
  });

  test.each(Object.entries(formats))(
    'says by %s which package is missing, and needs none for a file',
    async (_, ending) => {
      const body = `
        const places = ['etcd://n1', 'postgres://db', 'sqlite:./locks.db', 'memory:'];
        for (const place of places) {
          try {
            const locks = await openLocks(place);
            await locks.withLock('db', async () => {});
            await locks.close();
          } catch (error) {
            console.log(error.name, error.message);
          }
        }`;
      const head =
        ending === 'mjs'
          ? "import { openLocks } from '@berth/lock';"
          : "const { openLocks } = require('@berth/lock');";
      await small.write(`places.${ending}`, `${head}\n(async () => {${body}\n})();\n`);
      const { stdout, stderr } = await small.run(earlierNode(), `places.${ending}`);
      expect({ stderr, lines: stdout.trim().split('\n') }).toEqual({
        stderr: '',
        lines: [
          expect.stringMatching(
            /^MissingPackageError .*npm install etcd3 @grpc\/grpc-js cockatiel$/,
          ),
          expect.stringMatching(/^MissingPackageError .*the package pg; .*npm install pg$/),
        ],
      });
    },
  );

  test('has one class of each error for import and require, and types for all entries', async () => {
    const entries = ['', '/etcd', ...stores.map((name) => `/stores/${name}`)];
    const names = entries.map((entry) => `@berth/lock${entry}`);
    const asText = names.map((name, index) => `import * as e${index} from '${name}';\n`);
    const used = `export const all: object[] = [${names.map((_, index) => `e${index}`)}];\n`;
    for (const ending of ['mts', 'cts'])
      await full.write(`entries.${ending}`, asText.join('') + used);
    // The types of etcd3 itself are not made for every strictness.
    await full.compile(['entries.mts', 'entries.cts'], { noEmit: true, skipLibCheck: true });
    await full.write(
      'classes.mjs',
      `import { createRequire } from 'node:module';
       const require = createRequire(import.meta.url);
       for (const name of ${JSON.stringify(names)}) {
         const [imported, required] = [await import(name), require(name)];
         for (const key of Object.keys(imported)) {
           if (imported[key] !== required[key]) console.log('differs', name, key);
         }
         const missing = Object.keys(required).filter((key) => !(key in imported));
         if (missing.length > 0) console.log('missing', name, missing);
       }`,
    );
    for (const node of Object.values(nodes)) expectQuiet(await full.run(node, 'classes.mjs'));
  });

  test('has a page for each entry, with each name that it exports', async () => {
    const read = (path: string) =>
      readFile(join(full.directory, 'node_modules/@berth/lock', path), 'utf8');
    const index = await read('dist/lock/index.d.ts');
    const types = [...index.matchAll(/export type \{ ([^}]*) \}/g)].flatMap(([, names = '']) =>
      names.split(/,\s*/).filter((name) => name !== ''),
    );
    const exported = { lock: types, 'lock-etcd': ['EtcdClient', 'EtcdOptions'] };
    expect(types).toContain('OpenLocksOptions');
    for (const [page, names] of Object.entries({ ...exported, ...(await namesOfModules()) })) {
      const all = [...names, ...((exported as Record<string, string[]>)[page] ?? [])];
      const text = await read(`api/${page}.md`);
      expect(await read('api/README.md')).toContain(`(${page}.md)`);
      const missing = all.filter((name) => !text.includes(`## ${name}\n`));
      expect({ page, missing }).toEqual({ page, missing: [] });
    }
    expect(await read('api/lock.md')).toMatch(
      /## openLocks\n\nOpens locks with the store that keeps them:[^#]*```ts\nfunction openLocks\(/,
    );
  });

  test('runs without /proc, and says what does not', async () => {
    await small.write(
      'no-proc.mjs',
      `import { openLocks } from '@berth/lock';
       const locks = await openLocks('memory:');
       await locks.withLock('db', async (lock) => console.log('token', lock.token));
       await locks.close();
       await openLocks('./locks.db').catch((error) => console.log(error.message));`,
    );
    const hidden = 'mount -t tmpfs none /proc && exec "$1" no-proc.mjs';
    const { stdout } = await runProcess(
      'unshare',
      ['--mount', 'sh', '-c', hidden, 'sh', earlierNode()],
      { cwd: small.directory },
    );
    expect(stdout).toMatch(/^token 1\nlocks in the file \.\/locks\.db need Linux and its \/proc/);
  });

  test('takes locks in a directory, with processes of both Nodes at a time', async () => {
    await small.write('count', '0');
    await small.write(
      'directory.mjs',
      `import { readFile, writeFile } from 'node:fs/promises';
       import { openLocks } from '@berth/lock';
       import { fileStore } from '@berth/lock/stores/file';
       const store = await fileStore({ directory: './locks' });
       const locks = await openLocks({ store });
       for (let round = 0; round < 30; round += 1) {
         await locks.withLock('count', async () => {
           const count = Number(await readFile('count', 'utf8'));
           await writeFile('count', String(count + 1));
         });
       }
       await locks.close();
       await store[Symbol.asyncDispose]();`,
    );
    const all = [...Object.values(nodes), ...Object.values(nodes)];
    const ends = await Promise.all(all.map((node) => small.run(node, 'directory.mjs')));
    for (const end of ends) expectQuiet(end);
    expect(await readFile(join(small.directory, 'count'), 'utf8')).toBe('120');
  });

  test('shows what the locks do if the library debug is installed', async () => {
    const program = `const { openLocks } = require('@berth/lock');
      openLocks('memory:').then(async (locks) => {
        await (await locks.lock('db')).unlock();
        await locks.close();
      });`;
    const env = { DEBUG: 'berth:session' };
    for (const project of [small, full]) await project.write('debug.cjs', program);
    expect((await full.run(earlierNode(), 'debug.cjs', env)).stderr).toContain('opened session=');
    expectQuiet(await small.run(earlierNode(), 'debug.cjs', env));
  });
});

const stores = ['embedded', 'etcd', 'file', 'kubernetes', 'memory', 'postgres'];

/** Returns what each module exports at run time, by the name of its page. */
async function namesOfModules(): Promise<Record<string, string[]>> {
  const modules = {
    lock: await import('../../lib/lock/index.ts'),
    'lock-etcd': await import('../../lib/etcd/client.ts'),
    'lock-stores-embedded': await import('../../lib/lock/stores/embedded/store.ts'),
    'lock-stores-etcd': await import('../../lib/lock/stores/etcd/store.ts'),
    'lock-stores-file': await import('../../lib/lock/stores/file/store.ts'),
    'lock-stores-kubernetes': await import('../../lib/lock/stores/kubernetes/store.ts'),
    'lock-stores-memory': await import('../../lib/lock/stores/memory/store.ts'),
    'lock-stores-postgres': await import('../../lib/lock/stores/postgres/store.ts'),
  };
  return Object.fromEntries(
    Object.entries(modules).map(([page, module]) => [page, Object.keys(module)]),
  );
}

/** Writes the examples of the README, and compiles those in TypeScript. */
async function writePrograms(project: Project, addresses: Readonly<Record<string, string>>) {
  const readme = await readFile(join(repository, 'lib/lock/README.md'), 'utf8');
  for (const [ending, programs] of [
    ['mjs', modulePrograms(readme, addresses)],
    ['cjs', commonJsPrograms(readme, addresses)],
  ] as const) {
    for (const [index, code] of programs.entries()) {
      await project.write(`example-${index}.${ending}`, code);
    }
  }
  const code = typescriptProgram(readme, addresses);
  for (const ending of ['mts', 'cts']) await project.write(`example.${ending}`, code);
  await project.compile(['example.mts', 'example.cts'], { skipLibCheck: false });
}

/** Nothing but what the health of a test's etcd is worth. */
function expectQuiet({ code, stdout, stderr }: FinishedProcess): void {
  const others = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('warning '));
  expect({ code, stdout, others }).toEqual({ code: 0, stdout: '', others: [] });
}

/** Returns the versions that berth itself uses, as npm takes them. */
async function versionsOf(...names: readonly string[]): Promise<string[]> {
  const { dependencies } = JSON.parse(await readFile(join(repository, 'package.json'), 'utf8'));
  return names.map((name) => `${name}@${dependencies[name]}`);
}
