import type { z } from 'zod';
import { driverNames } from '../../lib/volumes/drivers/registry.ts';
import {
  absolutePath,
  duration,
  durationOrNone,
  factor,
  matching,
  oneOf,
  socketPath,
  storeAddress,
  wordPairs,
  yesOrNo,
} from './setting-values.ts';

/**
 * Everything that can be configured, one row each. A setting `state-dir` is the flag
 * `--state-dir` and the environment variable `BERTH_STATE_DIR`; a flag wins.
 */
export interface Setting<T> {
  readonly name: string;
  /** The word that stands for the value in the help. */
  readonly placeholder: string;
  /** The value of the flag without a word after it; absent: the flag needs one. */
  readonly alone?: string;
  /** `<name>` stands for the value of the setting `name`, `<hostname>` for the machine's name. */
  readonly default?: string;
  readonly help: string;
  readonly schema: z.ZodType<T, string | undefined> | z.ZodType<T, string>;
}

/** The sentinel's socket is the admin socket with this appended. */
export const sentinelSuffix = '.sentinel';

/** The values of `hold-limit`, for the host and for one copy. */
export const holdLimit = {
  minMs: 100,
  maxMs: 600_000,
  allowed: 'use 100ms to 10m, such as 30s',
};

const hostRule = 'use 1 to 64 of A-Z a-z 0-9 _ . -';

export const settings = {
  name: setting({
    name: 'name',
    placeholder: 'NAME',
    default: 'berth',
    help: "The driver's name in docker volume create -d NAME",
    schema: matching(
      /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/,
      'use 1 to 64 of A-Z a-z 0-9 _ . -, starting with a letter or a digit',
    ),
  }),
  socket: setting({
    name: 'socket',
    placeholder: 'PATH',
    default: '/run/docker/plugins/<name>.sock',
    help: 'The socket on which the Docker engine finds the plugin',
    schema: socketPath(),
  }),
  adminSocket: setting({
    name: 'admin-socket',
    placeholder: 'PATH',
    default: '/run/berth/admin.sock',
    help: 'The socket of the berth command; for root only',
    schema: socketPath({ suffix: sentinelSuffix }),
  }),
  store: setting({
    name: 'store',
    placeholder: 'ADDRESS',
    default: 'embedded',
    help: 'Where records and locks are kept: embedded (this host alone), etcd://HOST:PORT,…, etcds://… (TLS)',
    schema: storeAddress(),
  }),
  etcdCa: setting({
    name: 'etcd-ca',
    placeholder: 'FILE',
    help: "Certificate authority of etcd's certificate (PEM)",
    schema: absolutePath().optional(),
  }),
  etcdCert: setting({
    name: 'etcd-cert',
    placeholder: 'FILE',
    help: 'Client certificate for etcd (PEM)',
    schema: absolutePath().optional(),
  }),
  etcdKey: setting({
    name: 'etcd-key',
    placeholder: 'FILE',
    help: 'Key of the client certificate (PEM)',
    schema: absolutePath().optional(),
  }),
  etcdUser: setting({
    name: 'etcd-user',
    placeholder: 'USER',
    help: 'User name in etcd',
    schema: matching(/^[^\s:]{1,128}$/, 'use 1 to 128 characters, no blank, no colon').optional(),
  }),
  etcdPasswordFile: setting({
    name: 'etcd-password-file',
    placeholder: 'FILE',
    help: "File with the user's password; never the password itself",
    schema: absolutePath().optional(),
  }),
  prefix: setting({
    name: 'prefix',
    placeholder: 'PREFIX',
    default: '/berth',
    help: 'The prefix of all keys in etcd; daemons with the same prefix share their volumes',
    schema: matching(
      /^(?=.{2,128}$)(?:\/[A-Za-z0-9_.-]+)+$/,
      'use /WORD or /WORD/WORD… of A-Z a-z 0-9 _ . -, at most 128 characters',
    ),
  }),
  stateDir: setting({
    name: 'state-dir',
    placeholder: 'DIR',
    default: '/var/lib/berth',
    help: 'The directory for what this host must remember over a restart',
    schema: absolutePath(),
  }),
  volumeDir: setting({
    name: 'volume-dir',
    placeholder: 'DIR',
    default: '<state-dir>/volumes',
    help: "The volumes' content; a shared file system on a cluster",
    schema: absolutePath(),
  }),
  mountDir: setting({
    name: 'mount-dir',
    placeholder: 'DIR',
    default: '<state-dir>/mounts',
    help: 'Where volumes are mounted for containers',
    schema: absolutePath(),
  }),
  host: setting({
    name: 'host',
    placeholder: 'HOST',
    default: '<hostname>',
    help: "This host's name as other hosts see it; unique among them",
    schema: matching(/^[A-Za-z0-9_.-]{1,64}$/, hostRule),
  }),
  ttl: setting({
    name: 'ttl',
    placeholder: 'DURATION',
    default: '20s',
    help: 'How long a dead host keeps its locks',
    schema: duration({
      minMs: 5_000,
      maxMs: 3_600_000,
      stepMs: 1_000,
      allowed: 'use whole seconds from 5s to 1h, like 20s or 1m',
    }),
  }),
  lockTimeout: setting({
    name: 'lock-timeout',
    placeholder: 'DURATION',
    default: '25s',
    help: 'How long an operation waits for a lock; 0s: it tries once. Keep it below the 60 s of the engine',
    schema: duration({
      minMs: 0,
      maxMs: 50_000,
      allowed: 'use 0s to 50s, like 500ms or 25s (the engine gives up after 60 s)',
    }),
  }),
  onLostRestart: setting({
    name: 'on-lost-restart',
    placeholder: 'yes|no',
    default: 'yes',
    help: 'Start containers again that were ended because their volume was lost, as their restart policy says',
    schema: oneOf(['yes', 'no']),
  }),
  reconcileInterval: setting({
    name: 'reconcile-interval',
    placeholder: 'DURATION',
    default: '60s',
    help: "How often mounts are compared with the engine's containers; unused mounts are unmounted after three times this",
    schema: duration({
      minMs: 1_000,
      maxMs: 3_600_000,
      allowed: 'use 1s to 1h, like 60s',
    }),
  }),
  driver: setting({
    name: 'driver',
    placeholder: 'DRIVER',
    default: 'directory',
    help: 'The driver of volumes created without -o driver=',
    schema: oneOf(driverNames),
  }),
  defaultAccess: setting({
    name: 'default-access',
    placeholder: 'DRIVER=ACCESS,…',
    default: 'image=container,directory=host',
    help: 'Who may mount a volume created without -o access=, by driver: container (one container) or host (all containers of one host)',
    schema: wordPairs(driverNames, ['container', 'host']),
  }),
  overcommit: setting({
    name: 'overcommit',
    placeholder: 'FACTOR',
    default: '1',
    help: 'How much space may be promised to volumes with a size, as a multiple of what their pool has',
    schema: factor({
      min: 0.1,
      max: 1_000,
      allowed: 'use a number from 0.1 to 1000, like 1 or 2.5',
    }),
  }),
  trash: setting({
    name: 'trash',
    placeholder: 'DURATION',
    default: '0',
    help: 'How long a removed volume is kept, with its snapshots, so that berth volume restore can undo the removal; 0: not at all',
    schema: durationOrNone({
      minMs: 1_000,
      maxMs: 366 * 86_400_000,
      allowed: 'use 0, or 1s to 366d, like 7d or 12h',
    }),
  }),
  dockerSocket: setting({
    name: 'docker-socket',
    placeholder: 'PATH',
    default: '/var/run/docker.sock',
    help: "The engine's socket, asked which containers use a volume",
    schema: socketPath(),
  }),
  fenceCommand: setting({
    name: 'fence-command',
    placeholder: 'PATH',
    help: 'A program that keeps another host from writing (switches it off, say); run before a volume is mounted that this host did not unmount; exit code 0 means done',
    schema: absolutePath().optional(),
  }),
  fenceHostProcesses: setting({
    name: 'fence-host-processes',
    placeholder: 'yes|no',
    alone: 'yes',
    default: 'no',
    help: 'Whether the sentinel also stops processes outside containers that use a volume which this host may have lost',
    schema: yesOrNo(),
  }),
  holdLimit: setting({
    name: 'hold-limit',
    placeholder: 'DURATION',
    default: '10s',
    help: 'How long containers stand still at most while a volume is copied whose driver has no moment of its own; then the copy fails',
    schema: duration(holdLimit),
  }),
} as const;

/** Lets each row's value type follow from its schema. */
function setting<T>(row: Setting<T>): Setting<T> {
  return row;
}

/** All rows, in the order of the help. */
export const allSettings: readonly Setting<unknown>[] = Object.values(settings);

export function flagOf({ name }: { readonly name: string }): string {
  return `--${name}`;
}

export function variableOf({ name }: { readonly name: string }): string {
  return `BERTH_${name.toUpperCase().replaceAll('-', '_')}`;
}

/** The settings as a person reads them after `--help`. */
export function settingsHelp(): string {
  const rows = allSettings.map((row) => ({
    left: `${flagOf(row)} ${row.placeholder}`,
    right: row.default === undefined ? row.help : `${row.help} (${row.default})`,
  }));
  const width = Math.max(...rows.map(({ left }) => left.length));
  return rows.map(({ left, right }) => `  ${left.padEnd(width)}  ${right}\n`).join('');
}
