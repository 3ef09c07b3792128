// Who uses a volume: containers of real engines that hide from a scan in every way that was tried,
// processes of the host and of the engine, and monitors, which are none. The scan runs inside each
// host; the hosts share one directory as the volume's content.

import { mkdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import type { User } from '../../../sentinel/ports.ts';
import { freezerGroup } from '../../support/control-groups.ts';
import type { Host } from '../../support/host.ts';
import { startHost } from '../../support/host.ts';
import { isAlive } from '../../support/host-processes.ts';
import type { RunningProcess } from '../../support/processes.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';
import type { DockerVersion } from '../../support/tools.ts';
import { dockerTools } from '../../support/tools.ts';

const program = join(import.meta.dirname, '../../support/scan-users.ts');

describeWith(['docker'], 'users of a volume', () => {
  const stack = new AsyncDisposableStack();
  const scenes: Scene[] = [];
  beforeAll(async () => {
    const content = stack.use(await makeTemporaryDirectory()).path;
    for (const controlGroups of [1, 2] as const) {
      for (const docker of ['26.1', '20.10'] as const) {
        const host = stack.use(await startHost({ docker, controlGroups }));
        scenes.push(await prepare(docker, host, content));
      }
    }
  });
  afterEach(async () => {
    await Promise.all(scenes.map((scene) => scene.clear()));
  });
  afterAll(() => stack.disposeAsync());

  async function onEach(check: (scene: Scene) => Promise<void>): Promise<void> {
    const checkOne = (scene: Scene) =>
      check(scene).catch((error) => {
        const { docker, host } = scene;
        const where = `Docker ${docker}, control groups v${host.controlGroups}`;
        throw new Error(`${where}: ${error.message}`, { cause: error });
      });
    const results = await Promise.allSettled(scenes.map(checkOne));
    const reasons = results.flatMap((each) => (each.status === 'rejected' ? [each.reason] : []));
    if (reasons.length > 0) throw new AggregateError(reasons, reasons.join('\n'));
  }

  test('a container with the volume is found on its own host only, with its control group', async () => {
    for (const scene of scenes) {
      const id = await scene.run('plain', '-v', `${scene.mountpoint}:/data`);
      const [user, ...rest] = await scene.users();
      expect(rest).toEqual([]);
      expect(user).toMatchObject({ kind: 'container', id, volumes: ['db'] });
      const { controlGroups: version, directory } = scene.host;
      const path = freezerGroup(version, basename(directory), id);
      expect(user?.key).toBe(path);
      expect(user?.group).toEqual({ path, version });
      for (const other of scenes.filter((each) => each !== scene)) {
        expect(await other.users()).toEqual([]);
      }
      await scene.clear();
    }
  });

  test('a destination that ends like the mountpoint on the host hides nobody', async () => {
    await onEach(async (scene) => {
      const id = await scene.run('path', '-v', `${scene.mountpoint}:/any${scene.mountpoint}`);
      expect(await scene.usersIds()).toEqual([id]);
    });
  });

  test('two containers below a control group that is named like a container are two', async () => {
    await onEach(async (scene) => {
      const parent = `/${basename(scene.host.directory)}/${'ab'.repeat(32)}`;
      const flags = ['--cgroup-parent', parent, '-v', `${scene.mountpoint}:/data`];
      const ids = [await scene.run('one', ...flags), await scene.run('two', ...flags)];
      const users = await scene.users();
      expect(users.map(({ id }) => id).sort()).toEqual(ids.sort());
      expect(users.map(({ group }) => basename(group?.path ?? '')).sort()).toEqual(ids.sort());
    });
  });

  test("a container in a user's PID namespace is a user; one in the host's is not", async () => {
    await onEach(async (scene) => {
      const id = await scene.run('db', '-v', `${scene.mountpoint}:/data`);
      const sidecar = await scene.run('sidecar', '--pid=container:db');
      await scene.run('top', '--pid=host');
      expect(await scene.usersIds()).toEqual([id, sidecar].sort());
    });
  });

  test('a container that was passed a descriptor is a user, also of a file opened for reading', async () => {
    await onEach(async (scene) => {
      const { mountpoint, host } = scene;
      const db = await scene.run('db', '-v', `${mountpoint}:/data`);
      const id = await scene.run('bystander');
      expect(await scene.usersIds()).toEqual([db]);
      const group = freezerGroup(host.controlGroups, basename(host.directory), id);
      const pid = await host.dockerOk('inspect', '-f', '{{.State.Pid}}', 'db');
      for (const path of [`${mountpoint}/file`, `/proc/${pid}/root/data/file`]) {
        const holder = await scene.onHost(`exec 9< ${path}
          echo $$ > ${group}/cgroup.procs; exec sleep 1000`);
        expect(await scene.usersIds()).toEqual([db, id].sort());
        process.kill(holder, 'SIGKILL');
        await waitFor(async () => !(await isAlive(holder)), 5_000, 'the holder to end');
      }
    });
  });

  test("the host's own processes are users while they write there or stand there", async () => {
    await onEach(async (scene) => {
      const { mountpoint, content } = scene;
      await scene.run('db', '-v', `${mountpoint}:/data`);
      const pid = (await scene.host.dockerOk('inspect', '-f', '{{.State.Pid}}', 'db')).trim();
      const writer = await scene.onHost(`exec 9>> ${mountpoint}/file; exec sleep 1000`);
      const shell = await scene.onHost(`cd ${mountpoint}; exec sleep 1000`);
      const atSource = await scene.onHost(`exec 9>> ${content}/file; exec sleep 1000`);
      const guest = await scene.onHost(`nsenter --target ${pid} --mount sleep 1000 & wait`);
      await scene.onHost(`exec 9< ${mountpoint}/file; exec sleep 1000`);
      const own = (await scene.users()).filter(({ kind }) => kind === 'host');
      expect(own.map(({ process }) => process?.pid).sort()).toEqual(
        [writer, shell, atSource, guest].sort(),
      );
      expect(own.map(({ process }) => process?.name)).toEqual(own.map(() => 'sleep'));
    });
  });

  test('a container is found whose process took the mount to a namespace of its own', async () => {
    await onEach(async (scene) => {
      const script = `unshare -m sleep 1000 & sleep 0.5; umount /data && echo left; exec sleep 1000`;
      const flags = ['--cap-add', 'SYS_ADMIN', '-v', `${scene.mountpoint}:/data`];
      const id = await scene.runScript('left', flags, script);
      expect(await scene.usersIds()).toEqual([id]);
    });
  });

  test('a container is found that keeps no more than a descriptor of a detached mount', async () => {
    await onEach(async (scene) => {
      const script = `exec 9>> /data/file; umount -l /data && echo left; exec sleep 1000`;
      const flags = ['--cap-add', 'SYS_ADMIN', '-v', `${scene.mountpoint}:/data`];
      const id = await scene.runScript('detached', flags, script);
      expect(await scene.usersIds()).toEqual([id]);
    });
  });

  test('a container is found whose processes have their root inside the volume', async () => {
    await onEach(async (scene) => {
      const script = `mkdir -p /data/jail; cp /bin/busybox /data/jail/
        exec chroot /data/jail /busybox sh -c 'echo left; exec /busybox sleep 1000'`;
      const id = await scene.runScript('jailed', ['-v', `${scene.mountpoint}:/data`], script);
      expect(await scene.usersIds()).toEqual([id]);
    });
  });

  test('monitors: containers that see the whole host, or a part of it, are no users', async () => {
    await onEach(async (scene) => {
      const { directory } = scene.host;
      await scene.run('monitor', '-v', '/:/rootfs:ro');
      await scene.run('part', '-v', `${directory}:/hostlib:ro`);
      await scene.run('slave', '-v', '/:/host:rslave');
      await scene.run('writable', '-v', `${directory}/mounts:/mounts`);
      expect(await scene.users()).toEqual([]);
      const id = await scene.run('direct', '-v', `${scene.mountpoint}:/host`);
      expect(await scene.usersIds()).toEqual([id]);
    });
  });

  test("`docker cp` is the engine's: a thread of dockerd, or a process that it started", async () => {
    await onEach(async (scene) => {
      const id = await scene.run('target', '-v', `${scene.mountpoint}:/data`);
      await scene.copySlowly('target:/data');
      const engines = async () => (await scene.users()).filter(({ kind }) => kind === 'engine');
      const [user] = await waitFor(
        async () => ((await engines()).length > 0 ? engines() : undefined),
        10_000,
        'the engine to copy',
      );
      expect(user?.process?.pid).toBeDefined();
      if (scene.docker === '26.1') {
        expect(user?.process).toMatchObject({ pid: scene.host.enginePid, name: 'dockerd' });
        // Only the thread: the engine goes on with its other work.
        expect(user?.process?.tid).toEqual(expect.any(Number));
        expect(user?.process?.tid).not.toBe(scene.host.enginePid);
      }
      expect(await engines()).toHaveLength(1);
      expect((await scene.users()).map((each) => each.id)).toContain(id);
    });
  });
});

interface Scene {
  readonly docker: DockerVersion;
  readonly host: Host;
  readonly mountpoint: string;
  /** The directory that is mounted there. */
  readonly content: string;
  users(): Promise<User[]>;
  /** Returns the IDs of the containers among the users, sorted; fails if there is another user. */
  usersIds(): Promise<string[]>;
  /** Starts a container that sleeps; returns its ID. */
  run(name: string, ...flags: string[]): Promise<string>;
  /** Starts a container with a script, and waits until it has said something. */
  runScript(name: string, flags: readonly string[], script: string): Promise<string>;
  /** Starts a shell on the host; returns the process that sleeps in the end, itself or a child. */
  onHost(script: string): Promise<number>;
  /** Starts to copy an archive whose content comes slowly. */
  copySlowly(to: string): Promise<void>;
  clear(): Promise<void>;
}

async function prepare(docker: DockerVersion, host: Host, content: string): Promise<Scene> {
  const mountpoint = join(host.directory, 'mounts/db');
  await mkdir(mountpoint, { recursive: true });
  // As systemd does: otherwise no container can have the host's later mounts.
  await host.execOk('mount', '--make-rshared', '/');
  await host.execOk('mount', '--bind', content, mountpoint);
  await host.execOk('sh', '-c', `echo > ${mountpoint}/file`);
  const started: RunningProcess[] = [];
  const users = async () => {
    const volumes = JSON.stringify([{ volume: 'db', mountpoint }]);
    const output = await host.execOk(process.execPath, program, volumes);
    const { users: found }: { users: User[] } = JSON.parse(output);
    return found;
  };
  const runScript = async (name: string, flags: readonly string[], script: string) => {
    const all = ['-d', '--name', name, '--stop-timeout', '0', ...flags];
    const id = await host.dockerOk('run', ...all, 'busybox', 'sh', '-c', script);
    const hasSaid = async () => (await host.dockerOk('logs', name)) !== '';
    await waitFor(hasSaid, 5_000, `${name} to be ready`);
    return id;
  };
  return {
    docker,
    host,
    mountpoint,
    content,
    users,
    usersIds: async () => {
      const found = await users();
      expect(found.map(({ kind }) => kind)).toEqual(found.map(() => 'container'));
      return found.map(({ id = 'none' }) => id).sort();
    },
    run: (name, ...flags) => runScript(name, flags, 'echo ready; exec sleep 1000'),
    runScript,
    onHost: async (script) => {
      const shell = host.spawn('sh', ['-c', script]);
      started.push(shell);
      const sleeper = async () => {
        const children = `/proc/${shell.pid}/task/${shell.pid}/children`;
        const inner = (await readFile(children, 'utf8')).split(' ').filter(Boolean).map(Number);
        for (const pid of [shell.pid, ...inner]) {
          if ((await readFile(`/proc/${pid}/comm`, 'utf8')) === 'sleep\n') return pid;
        }
        return undefined;
      };
      return waitFor(sleeper, 5_000, 'the shell to sleep');
    },
    copySlowly: async (to) => {
      const words = [dockerTools(docker).docker, '--host', `unix://${host.dockerSocket}`];
      const script = `rm -f /run/slow; mkfifo /run/slow; head -c 9000000 /dev/zero > /run/zeros
        { tar -C /run -cf - zeros | head -c 4000000; exec sleep 100; } > /run/slow 2> /run/error &
        exec "$0" "$@" < /run/slow`;
      const copy = host.spawn('sh', ['-c', script, ...words, 'cp', '-', to]);
      started.push(copy);
    },
    clear: async () => {
      await Promise.all(started.splice(0).map((process) => process.stop()));
      const all = await host.dockerOk('ps', '--all', '--quiet');
      if (all !== '') await host.dockerOk('rm', '--force', ...all.split('\n'));
    },
  };
}
