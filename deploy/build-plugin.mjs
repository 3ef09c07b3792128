// Builds the managed plugin from this repository, its root file system and its config.json, and
// passes it to `docker plugin create`. Plain JavaScript, so that it runs on any Node from 20 on.
import { existsSync } from 'node:fs';
import { copyFile, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { execute, mustExecute } from '../scripts/execute.mjs';

const usage = `Usage: node deploy/build-plugin.mjs NAME [options] [-- BUILD-OPTION...]

Builds berth's managed plugin and installs it in the Docker engine as NAME, such as me/berth:1.0.
Options after -- go to docker build: --build-arg NODE_IMAGE=IMAGE, --network host and so on.

  --rootfs-from-host  use this machine's programs and libraries instead of building an image:
                      needs no registry, but glibc, e2fsprogs, xfsprogs and npm ci here
  --output DIR        leave the plugin in DIR (which must not exist) instead of calling docker
                      plugin create
`;

/** The programs that the drivers run, and those that xfs_admin, a shell script, runs in turn. */
const programs = [
  ...['mount', 'umount', 'losetup', 'fsfreeze', 'setpriv'],
  ...['cp', 'du', 'fallocate', 'rm', 'sync'],
  ...['mkfs.ext4', 'tune2fs', 'debugfs', 'e2fsck'],
  ...['mkfs.xfs', 'xfs_admin', 'xfs_db', 'xfs_io', 'xfs_repair', 'sh'],
];

const repository = dirname(dirname(fileURLToPath(import.meta.url)));
/** The working directory in config.json, also used by the Dockerfile. */
const home = 'opt/berth';

const options = readOptions();
if (options.help) process.stdout.write(usage);
else await build(options);

function readOptions() {
  const given = process.argv.slice(2);
  const end = given.includes('--') ? given.indexOf('--') : given.length;
  try {
    const { values, positionals } = parseArgs({
      args: given.slice(0, end),
      allowPositionals: true,
      options: {
        help: { type: 'boolean' },
        'rootfs-from-host': { type: 'boolean' },
        output: { type: 'string' },
      },
    });
    if (!values.help && positionals.length !== (values.output === undefined ? 1 : 0)) {
      throw new Error('give one NAME, or --output DIR');
    }
    const { help, output, 'rootfs-from-host': isFromHost } = values;
    return { help, output, isFromHost, name: positionals[0], buildOptions: given.slice(end + 1) };
  } catch (error) {
    process.stderr.write(`${error.message}\n\n${usage}`);
    process.exit(2);
  }
}

async function build({ name, output, isFromHost, buildOptions }) {
  // Ctrl-C also reaches the running program: it fails, and the code below cleans up.
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => {});
  const work = output ?? (await mkdtemp(join(tmpdir(), 'berth-plugin-')));
  let isDone = false;
  try {
    if (output !== undefined) await mkdir(output);
    const rootfs = join(work, 'rootfs');
    await mkdir(rootfs, { mode: 0o755 });
    if (isFromHost) await rootfsFromHost(rootfs);
    else await rootfsFromImage(rootfs, buildOptions);
    await copyFile(join(repository, 'config.json'), join(work, 'config.json'));
    if (name !== undefined) {
      say(`creating the plugin ${name}`);
      await mustExecute('docker', ['plugin', 'create', name, work]);
      say(`done; next: docker plugin enable ${name}`);
    }
    isDone = true;
  } catch (error) {
    say(error.message);
    process.exitCode = 1;
  } finally {
    const isKept = isDone && output !== undefined;
    // A directory that existed before is not removed.
    const isOurs = output === undefined || existsSync(join(work, 'rootfs'));
    if (!isKept && isOurs) await rm(work, { recursive: true, force: true });
  }
}

async function rootfsFromImage(rootfs, buildOptions) {
  say('building the image');
  const idFile = join(dirname(rootfs), 'image-id');
  await mustExecute('docker', ['build', ...buildOptions, '--iidfile', idFile, repository], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const image = (await readFile(idFile, 'utf8')).trim();
  await rm(idFile);
  say('exporting its file system');
  const container = (await mustExecute('docker', ['create', image])).trim();
  const archive = `${rootfs}.tar`;
  try {
    await mustExecute('docker', ['export', '--output', archive, container]);
  } finally {
    await execute('docker', ['rm', container]);
  }
  await mustExecute('tar', ['-xf', archive, '-C', rootfs]);
  await rm(archive);
}

async function rootfsFromHost(rootfs) {
  say("copying this machine's programs");
  const directories = ['dev', 'etc', 'proc', 'run', 'sys', 'tmp', 'usr/bin', 'var', home];
  for (const directory of directories) await mkdir(join(rootfs, directory), { recursive: true });
  await symlink('usr/bin', join(rootfs, 'bin'));
  await symlink('usr/bin', join(rootfs, 'sbin'));
  await symlink('../run', join(rootfs, 'var/run'));
  await symlink('/proc/self/mounts', join(rootfs, 'etc/mtab'));
  await writeFile(join(rootfs, 'etc/passwd'), 'root:x:0:0:root:/:/bin/sh\n');
  await writeFile(join(rootfs, 'etc/group'), 'root:x:0:\n');
  // Without this file, names in /etc/hosts are looked up at the name server first.
  await writeFile(join(rootfs, 'etc/nsswitch.conf'), 'hosts: files dns\n');
  for (const program of programs) {
    await copyProgram(await findProgram(program), join(rootfs, 'usr/bin', program), rootfs);
  }
  const node = join(rootfs, 'usr/bin/node');
  await copyProgram(await findNode(), node, rootfs);
  // Removes the symbols, a seventh of the size. strip (binutils) may be missing.
  await execute('strip', [node]);

  say('compiling');
  const tsc = join(repository, 'node_modules/typescript/bin/tsc');
  const outDir = join(rootfs, home, 'dist');
  const project = join(repository, 'tsconfig.build.json');
  // `npm run check` checks the types.
  const flags = ['--noCheck', '--project', project, '--outDir', outDir];
  await mustExecute(process.execPath, [tsc, ...flags]);
  await copyFile(join(repository, 'package.json'), join(rootfs, home, 'package.json'));
  await cp(join(repository, 'bin'), join(rootfs, home, 'bin'), { recursive: true });
  for (const path of await productionModules()) {
    await cp(join(repository, path), join(rootfs, home, path), {
      recursive: true,
      // Nested modules, some for development only, are left out: the list names those that are
      // needed.
      filter: (source) => !source.endsWith('/node_modules') && !source.endsWith('.map'),
    });
  }
}

/**
 * Returns the modules that the daemon needs, without running npm. Of the optional ones, only koffi's
 * library for this processor; npm has installed no other.
 */
async function productionModules() {
  const lock = JSON.parse(await readFile(join(repository, 'package-lock.json'), 'utf8'));
  const isNeeded = ([path, { link, dev, optional, devOptional }]) =>
    path.startsWith('node_modules/') && !(link || dev || optional || devOptional);
  const isLibrary = ([path]) =>
    path.startsWith('node_modules/@koromix/') && existsSync(join(repository, path));
  return Object.entries(lock.packages)
    .filter((entry) => isNeeded(entry) || isLibrary(entry))
    .map(([path]) => path);
}

/**
 * Copies a program and the libraries that it loads, each to the path at which the loader finds it.
 */
async function copyProgram(source, target, rootfs) {
  await copyFile(source, target);
  const { output } = await execute('ldd', [source]);
  for (const [, library] of output.matchAll(/(?:=>|^)\s*(\/\S+)\s+\(0x/gm)) {
    const place = join(rootfs, library);
    if (existsSync(place)) continue;
    await mkdir(dirname(place), { recursive: true });
    await copyFile(library, place);
  }
}

async function findProgram(name) {
  const searchPath = `${process.env.PATH}:/usr/sbin:/sbin`;
  const { code, output } = await execute('which', [name], {
    env: { ...process.env, PATH: searchPath },
  });
  if (code !== 0) throw new Error(`the program ${name} is not installed`);
  return output.trim();
}

async function findNode() {
  const installed = join(repository, 'node_modules/node/bin/node');
  const node = existsSync(installed) ? installed : process.execPath;
  const version = await mustExecute(node, ['--version']);
  if (Number(/^v(\d+)/.exec(version)?.[1]) >= 24) return node;
  throw new Error(`berth needs Node 24 or newer, but ${node} is ${version.trim()}: run npm ci`);
}

function say(line) {
  process.stderr.write(`build-plugin: ${line}\n`);
}
