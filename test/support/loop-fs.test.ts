// The file systems of the tests, on real loop devices.

import { readdir, readFile, statfs, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, test } from '@jest/globals';
import { makeHungFileSystem } from './hung-file-system.ts';
import { makeFileSystem } from './loop-fs.ts';
import { runOk, startProcess } from './processes.ts';
import { describeWith } from './requirements.ts';

describeWith(['loop', 'fuse'], 'file systems for tests', () => {
  test.each([
    ['ext4', 64],
    ['xfs', 320],
    ['btrfs', 128],
  ] as const)('makes %s with a size of its own', async (kind, sizeMB) => {
    await using fileSystem = await makeFileSystem(kind, sizeMB);
    const { blocks, bsize } = await statfs(fileSystem.path);
    expect((blocks * bsize) / 1024 / 1024).toBeLessThanOrEqual(sizeMB);
    expect(await readFile('/proc/mounts', 'utf8')).toContain(` ${fileSystem.path} ${kind} `);
    await writeFile(join(fileSystem.path, 'file'), 'content');
  });

  test.each([
    ['ext4', 64],
    ['xfs', 320],
    ['btrfs', 128],
  ] as const)('makes %s beside one whose image is on storage that hangs', async (kind, sizeMB) => {
    await using other = await makeFileSystem('ext4', 64);
    await using _hung = await makeHungFileSystem(dirname(other.path));
    await using fileSystem = await makeFileSystem(kind, sizeMB);
    await writeFile(join(fileSystem.path, 'file'), 'content');
  });

  test('leaves no mount, directory or loop device, even if a process used it a moment ago', async () => {
    const fileSystem = await makeFileSystem('ext4', 64);
    const user = startProcess('sh', ['-c', 'sleep 0.3'], { cwd: fileSystem.path });
    await fileSystem.dispose();
    await user.finished;
    expect(await readFile('/proc/mounts', 'utf8')).not.toContain(fileSystem.path);
    await expect(readdir(fileSystem.path)).rejects.toThrow('ENOENT');
    expect(
      await runOk('losetup', ['--list', '--noheadings', '--output', 'BACK-FILE']),
    ).not.toContain(fileSystem.path);
  });
});
