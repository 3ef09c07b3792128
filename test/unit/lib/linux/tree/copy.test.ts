// Copies of directories: real file systems, the real program; real time. Needs root.
import { lstat, mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { copyProgram } from '../../../../../lib/linux/tree/program.ts';
import type { FileSystemKind } from '../../../../support/loop-fs.ts';
import { makeFileSystem } from '../../../../support/loop-fs.ts';
import { runOk, runProcess, startProcess, waitFor } from '../../../../support/processes.ts';
import { makeOutside, startRacer } from '../../../../support/racer.ts';
import { describeWith } from '../../../../support/requirements.ts';
import { makeTemporaryDirectory } from '../../../../support/temporary-directory.ts';

/** More in the soak. */
const racedCopies = Number(process.env.BERTH_SOAK_COPIES ?? 12);

const copy = (from: string, to: string) => runProcess(process.execPath, [copyProgram, from, to]);

async function makePool(kind: FileSystemKind | 'tmpfs', stack: AsyncDisposableStack) {
  if (kind !== 'tmpfs') return stack.use(await makeFileSystem(kind, 320)).path;
  const { path } = stack.use(await makeTemporaryDirectory());
  await runOk('mount', ['-t', 'tmpfs', 'tmpfs', path]);
  stack.defer(async () => void (await runOk('umount', [path])));
  return path;
}

const script = `
mkdir plain 'with
newline' && cd plain
printf content > file && chown 1000:1001 file && chmod 4751 file
setcap cap_net_raw+ep file
setfattr -n user.colour -v green file
setfattr -n trusted.colour -v red .
touch -d 2001-02-03T04:05:06.123456789 file
ln file hard && ln file ../hard
ln -s ../file soft && chown -h 5:6 soft && touch -h -d 2002-02-03T04:05:06.987654321 soft
mkfifo -m 621 pipe && mknod null c 1 3 && mknod large b 300 70000 && chmod 7 null && chown 7:8 null
printf x > "$(printf '\\377-rf')"
truncate -s 60M sparse && printf middle | dd of=sparse bs=1 seek=20M conv=notrunc status=none
dd if=/dev/urandom of=big bs=1M count=3 status=none
mkdir sticky && chmod 3775 sticky && chown 3:4 sticky
touch -d 2003-01-01T00:00:00.5 sticky .`;

/** Lists all that a tree has, without the root's own name, inode numbers, and times of access. */
async function described(path: string): Promise<string> {
  const format = '%P|%y|%m|%U:%G|%n|%s|%T@|%l\\0';
  const names = await runOk('find', ['.', '-printf', format], { cwd: path });
  const lines = names.split('\0').sort().join('\n');
  const xattrs = await runOk('sh', ['-c', "getfattr -Rhdm- . | sed '/selinux/d'"], { cwd: path });
  const nodes = await runOk('stat', ['-c', '%n %t %T', 'plain/null', 'plain/large'], { cwd: path });
  return `${lines}\n${xattrs.split('\n\n').sort().join('\n')}\n${nodes}`;
}

describeWith(['root', 'loop'], 'a copy of a directory', () => {
  test.each(['tmpfs', 'ext4', 'xfs'] as const)(
    'has all that the original has, on %s',
    async (kind) => {
      await using stack = new AsyncDisposableStack();
      const pool = await makePool(kind, stack);
      const [from, to] = [join(pool, 'from'), join(pool, 'to')];
      await mkdir(from, { mode: 0o750 });
      await runOk('sh', ['-ec', script], { cwd: from });
      if (kind !== 'tmpfs') {
        await runOk('setfacl', ['-m', 'u:7:rwx,d:u:8:r', join(from, 'plain/sticky')]).catch(
          () => '',
        );
      }
      expect(await copy(from, to)).toMatchObject({ code: 0, stderr: '' });
      expect(await described(to)).toBe(await described(from));
      await runOk('diff', [
        '-r',
        '--no-dereference',
        join(from, 'plain/big'),
        join(to, 'plain/big'),
      ]);
      await runOk('cmp', [join(from, 'plain/sparse'), join(to, 'plain/sparse')]);
      expect((await lstat(join(to, 'plain/sparse'))).blocks * 512).toBeLessThan(2 ** 20);
      expect((await lstat(join(to, 'hard'))).ino).toBe((await lstat(join(to, 'plain/file'))).ino);
      // Shared blocks, where there are.
      if (kind === 'xfs') {
        const extents = await runOk('xfs_io', ['-c', 'fiemap -v', join(to, 'plain/big')]);
        expect(extents).toMatch(/0x2[0-9a-f]{3}/);
      }
    },
  );

  test('C6: protected files are copied, and the copy can be deleted', async () => {
    await using fs = await makeFileSystem('ext4', 64);
    const [from, to] = [join(fs.path, 'from'), join(fs.path, 'to')];
    await mkdir(join(from, 'directory'), { recursive: true });
    await writeFile(join(from, 'directory/file'), 'x');
    const make =
      'ln directory/file second; echo x > log; chattr +a log; chattr +i directory/file directory .';
    await runOk('sh', ['-ec', make], { cwd: from });
    expect(await copy(from, to)).toMatchObject({ code: 0, stderr: '' });
    await runOk('diff', ['-r', from, to]);
    await runOk('rm', ['-r', to]);
    await runOk('chattr', ['-R', '-i', '-a', from]);
  });

  test('C6: a tree deeper than any path is copied', async () => {
    await using directory = await makeTemporaryDirectory();
    const from = join(directory.path, 'from');
    await mkdir(from);
    const levels = 600;
    const lists: string[] = [];
    const make = `
      const { linkSync, mkdirSync, writeFileSync } = require('node:fs');
      writeFileSync('top', 'top');
      for (let level = 0; level < ${levels}; level++) {
        mkdirSync('${'x'.repeat(100)}'); mkdirSync('y'); process.chdir('${'x'.repeat(100)}');
        if (level % 200 === 199) writeFileSync('file', String(level));
      }`;
    await runOk(process.execPath, ['-e', make], { cwd: from });
    expect(await copy(from, join(directory.path, 'to'))).toMatchObject({ code: 0, stderr: '' });
    for (const name of ['from', 'to']) {
      const list = `find ${name} -mindepth 1 -printf '%f %y %s\\n' | sort | uniq -c`;
      lists.push(await runOk('sh', ['-c', list], { cwd: directory.path }));
      await runOk('rm', ['-rf', name], { cwd: directory.path });
    }
    expect(lists[0]).toContain(`${levels} y d`);
    expect(lists[1]).toBe(lists[0]);
  });

  test('enters no mount, also not one of the same file system', async () => {
    await using stack = new AsyncDisposableStack();
    const { path } = stack.use(await makeTemporaryDirectory());
    const [from, to, outside] = ['from', 'to', 'outside'].map((name) => join(path, name)) as [
      string,
      string,
      string,
    ];
    for (const each of [join(from, 'mounted'), outside]) await mkdir(each, { recursive: true });
    await writeFile(join(outside, 'file'), 'outside');
    await writeFile(join(from, 'covered'), 'covered');
    await bound(outside, join(from, 'mounted'), stack);
    await bound(join(outside, 'file'), join(from, 'covered'), stack);
    expect(await copy(from, to)).toMatchObject({ code: 0, stderr: '' });
    expect(await readdir(to, { recursive: true })).toEqual(['mounted']);
  });

  test('a root that is a link is refused', async () => {
    await using directory = await makeTemporaryDirectory();
    await symlink('/etc', join(directory.path, 'from'));
    const { code, stderr } = await copy(join(directory.path, 'from'), join(directory.path, 'to'));
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringMatching(/not a directory|symbolic link/),
    });
  });

  test('what does not fit is named, so that a terminal can show it', async () => {
    await using stack = new AsyncDisposableStack();
    const { path } = stack.use(await makeTemporaryDirectory());
    const small = stack.use(await makeFileSystem('ext4', 8)).path;
    await mkdir(join(path, 'from'));
    const name = 'red\u001b[31m\nname';
    await writeFile(join(path, 'from', name), Buffer.alloc(20 * 2 ** 20, 1));
    const { code, stderr } = await copy(join(path, 'from'), join(small, 'to'));
    expect(code).toBe(1);
    expect(stderr).toContain('could not copy ./red\\u{1b}[31m\\u{a}name (');
    expect(stderr).toContain('no space left');
  });

  test('files that grow, shrink and vanish meanwhile are no failure', async () => {
    await using directory = await makeTemporaryDirectory();
    const from = join(directory.path, 'from');
    await mkdir(from);
    const churn = `
      const fs = require('node:fs');
      for (let turn = 0; ; turn++) {
        const name = 'f' + (turn % 100);
        if (turn % 3 === 0) fs.rmSync(name, { force: true });
        else if (turn % 3 === 1) fs.appendFileSync(name, Buffer.alloc(turn % 10000, 1));
        else if (fs.existsSync(name)) fs.truncateSync(name, 10);
        if (turn === 1000) console.log('churning');
      }`;
    await using churner = startProcess(process.execPath, ['-e', churn], { cwd: from });
    await waitFor(async () => churner.output().includes('churning'), 10_000, 'the changes');
    for (let round = 0; round < 4; round++) {
      expect(await copy(from, join(directory.path, `to${round}`))).toMatchObject({
        code: 0,
        stderr: '',
      });
    }
    expect(churner.hasExited).toBe(false);
  });

  test(`A1: ${racedCopies} copies of a directory whose user exchanges directories, files and links have nothing from outside`, async () => {
    await using directory = await makeTemporaryDirectory();
    const from = join(directory.path, 'from');
    await mkdir(from);
    const outside = await makeOutside(join(directory.path, 'outside'));
    await using _racer = await startRacer(from, outside);
    for (let round = 0; round < racedCopies; round++) {
      const to = join(directory.path, 'to');
      expect(await copy(from, to)).toMatchObject({ code: 0, stderr: '' });
      expect(await outside.stolen(to)).toEqual([]);
      expect((await readdir(to)).length).toBeGreaterThan(30);
      await runOk('rm', ['-rf', to]);
    }
    await outside.requireUntouched();
  });
});

async function bound(from: string, at: string, stack: AsyncDisposableStack): Promise<void> {
  await runOk('mount', ['--bind', from, at]);
  stack.defer(async () => void (await runOk('umount', [at])));
}
