// What a start loads: daemon, sentinel and command start often, and each library that one of them
// loads without need costs it memory for as long as it runs.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';

const root = join(import.meta.dirname, '../../..');

interface Loaded {
  /** Names of Node's own modules. */
  readonly builtin: readonly string[];
  /** Paths of the CommonJS modules of libraries. */
  readonly libraries: readonly string[];
}

/** Returns what a Node has loaded after it has imported the given files of the project. */
function loadedWith(...files: readonly string[]): Loaded {
  const script = `
    for (const file of ${JSON.stringify(files.map((file) => join(root, file)))}) await import(file);
    const { createRequire } = process.getBuiltinModule('node:module');
    const builtin = process.moduleLoadList;
    const libraries = Object.keys(createRequire(${JSON.stringify(join(root, 'x'))}).cache);
    process.stdout.write(JSON.stringify({ builtin, libraries }));`;
  const flags = ['--input-type=module', '--eval', script];
  return JSON.parse(execFileSync(process.execPath, flags, { encoding: 'utf8' }));
}

test('no program loads fetch and WebSocket, and only a daemon on etcd loads gRPC', () => {
  const { builtin, libraries } = loadedWith(
    ...['plugin/daemon.ts', 'sentinel/main.ts', 'cli/program.ts'],
  );
  expect(builtin.filter((name) => name.includes('undici'))).toEqual([]);
  expect(builtin).toContain('NativeModule http');
  expect(libraries.filter((path) => /etcd3|grpc|protobuf/.test(path))).toEqual([]);
  expect(libraries.some((path) => path.includes('/express/'))).toBe(true);
});

test('the client of etcd does not load fetch and WebSocket either', () => {
  const { builtin, libraries } = loadedWith('lib/etcd/client.ts');
  expect(builtin.filter((name) => name.includes('undici'))).toEqual([]);
  expect(libraries.some((path) => path.includes('/etcd3/'))).toBe(true);
});
