// Backups of etcd and their restores, by etcd's own programs.
import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Etcd } from './etcd-server.ts';
import { succeeded } from './processes.ts';
import { makeTemporaryDirectory } from './temporary-directory.ts';
import { etcdTools } from './tools.ts';

export interface RestoreOptions {
  /** Keeps the cluster's token, and so its ID. */
  readonly sameToken?: boolean;
  /** Raises the revision by this much, and marks all before as compacted. */
  readonly bumpBy?: number;
}

/** A snapshot of etcd, from which the cluster can be restored as often as is needed. */
export interface EtcdBackup extends AsyncDisposable {
  /** Ends all members, if they run. */
  stop(): Promise<void>;
  /** Ends all members, replaces the data of each, and starts them again. */
  restore(options?: RestoreOptions): Promise<void>;
}

/** Takes a snapshot as an operator does. */
export async function snapshotOf(etcd: Etcd): Promise<EtcdBackup> {
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(await makeTemporaryDirectory());
  const snapshot = join(directory.path, 'snapshot.db');
  await etcd.saveSnapshot(snapshot);
  const owned = stack.move();
  return {
    stop: () => stopAll(etcd),
    restore: async ({ sameToken = false, bumpBy } = {}) => {
      const token = sameToken ? etcd.token : directory.path;
      await stopAll(etcd);
      for (const { name, peer, dataDir, machine } of etcd.places) {
        await rm(dataDir, { recursive: true });
        const args = [
          ...['snapshot', 'restore', snapshot, '--name', name, '--data-dir', dataDir],
          ...['--initial-cluster', etcd.places.map((p) => `${p.name}=${p.peer}`).join(',')],
          ...['--initial-advertise-peer-urls', peer, '--initial-cluster-token', token],
          ...(bumpBy === undefined ? [] : ['--bump-revision', `${bumpBy}`, '--mark-compacted']),
        ];
        const { etcdutl } = etcdTools('3.5');
        succeeded([etcdutl, ...args], await machine.exec(etcdutl, args));
      }
      await startAll(etcd);
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Copies the data of all members, which are ended for it and started again. */
export async function copyOf(etcd: Etcd): Promise<EtcdBackup> {
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(await makeTemporaryDirectory());
  const copyOfMember = (name: string) => join(directory.path, name);
  await stopAll(etcd);
  for (const { name, dataDir } of etcd.places) {
    await cp(dataDir, copyOfMember(name), { recursive: true });
  }
  await startAll(etcd);
  const owned = stack.move();
  return {
    stop: () => stopAll(etcd),
    restore: async () => {
      await stopAll(etcd);
      for (const { name, dataDir } of etcd.places) {
        await rm(dataDir, { recursive: true });
        await cp(copyOfMember(name), dataDir, { recursive: true });
      }
      await startAll(etcd);
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Ends all members and starts them with no data. */
export async function wipe(etcd: Etcd): Promise<void> {
  await stopAll(etcd);
  for (const { dataDir } of etcd.places) await rm(dataDir, { recursive: true });
  await startAll(etcd);
}

async function stopAll(etcd: Etcd): Promise<void> {
  for (const index of etcd.places.keys()) await etcd.kill(index);
}

async function startAll(etcd: Etcd): Promise<void> {
  await Promise.all([...etcd.places.keys()].map((index) => etcd.restart(index)));
}
