import { hostname } from 'node:os';
import type { ConfigProblem } from './config-error.ts';
import { ConfigError } from './config-error.ts';
import type { Environment, Given } from './given-settings.ts';
import { readEnvironment, readFlags } from './given-settings.ts';
import type { StoreAddress } from './setting-values.ts';
import type { Setting } from './settings.ts';
import { allSettings, settings } from './settings.ts';

/** The settings of the daemon, complete and checked. */
export interface Config {
  readonly name: string;
  readonly socket: string;
  readonly adminSocket: string;
  readonly store: StoreConfig;
  readonly prefix: string;
  readonly stateDir: string;
  readonly volumeDir: string;
  readonly mountDir: string;
  readonly host: string;
  readonly ttlMs: number;
  /** The limit of a wait for a lock; 0 means one try. */
  readonly lockTimeoutMs: number;
  /** `yes`: containers that the sentinel ended are started again when their volume is free. */
  readonly onLostRestart: 'yes' | 'no';
  readonly reconcileIntervalMs: number;
  readonly driver: string;
  /** The access of new volumes that don't name one, by driver; absent: the driver's own default. */
  readonly defaultAccess: Partial<Record<string, 'container' | 'host'>>;
  /** The space that may be promised to volumes, as a multiple of what the pool has. */
  readonly overcommit: number;
  /** How long removed volumes are kept; 0: not at all. */
  readonly trashMs: number;
  readonly dockerSocket: string;
  /** The program that ends another host. */
  readonly fenceCommand: string | undefined;
  /** The sentinel also stops processes of the host itself that use a volume. */
  readonly fenceHostProcesses: boolean;
  /** How long containers stand still for a copy, at most. */
  readonly holdLimitMs: number;
}

export type StoreConfig =
  | { readonly kind: 'embedded' }
  | {
      readonly kind: 'etcd';
      readonly tls: boolean;
      /** Addresses in the form `host:port`. */
      readonly endpoints: readonly string[];
      readonly caFile?: string | undefined;
      readonly certFile?: string | undefined;
      readonly keyFile?: string | undefined;
      readonly user?: string | undefined;
      readonly passwordFile?: string | undefined;
    };

/**
 * Reads the flags (`--ttl 30s`, `--ttl=30s`) and the `BERTH_*` variables; a flag wins, and an
 * empty variable counts as not set (a managed plugin's unset ones are empty).
 * Touches no file. Throws one ConfigError that names every bad setting.
 */
export function loadConfig(argv: readonly string[], env: Environment): Config {
  const problems: ConfigProblem[] = [];
  const given = new Map([...readEnvironment(env, problems), ...readFlags(argv, problems)]);
  const read = reader(given, problems);

  const store = read(settings.store);
  const config: Config = {
    name: read(settings.name),
    socket: read(settings.socket),
    adminSocket: read(settings.adminSocket),
    store: storeConfig(store, read, given, problems),
    prefix: read(settings.prefix),
    stateDir: read(settings.stateDir),
    volumeDir: read(settings.volumeDir),
    mountDir: read(settings.mountDir),
    host: read(settings.host),
    ttlMs: read(settings.ttl),
    lockTimeoutMs: read(settings.lockTimeout),
    onLostRestart: read(settings.onLostRestart),
    reconcileIntervalMs: read(settings.reconcileInterval),
    driver: read(settings.driver),
    defaultAccess: read(settings.defaultAccess),
    overcommit: read(settings.overcommit),
    trashMs: read(settings.trash),
    dockerSocket: read(settings.dockerSocket),
    fenceCommand: read(settings.fenceCommand),
    fenceHostProcesses: read(settings.fenceHostProcesses),
    holdLimitMs: read(settings.holdLimit),
  };
  if (problems.length === 0) checkTogether(config, problems);
  if (problems.length > 0) throw new ConfigError(problems);
  return deepFreeze(config);
}

type Read = <T>(setting: Setting<T>) => T;

function reader(given: ReadonlyMap<string, Given>, problems: ConfigProblem[]): Read {
  const bad = new Set<string>();
  return <T>(setting: Setting<T>): T => {
    const fallback = setting.default && expand(setting.default, given);
    const { source, value } = given.get(setting.name) ?? {
      source: `${setting.name} (default ${setting.default ?? 'none'})`,
      value: fallback,
    };
    const result = setting.schema.safeParse(value);
    if (result.success) return result.data;
    // A default that is derived from a bad setting is bad as well, but the bad one was reported already.
    const derived = !given.has(setting.name) && [...bad].some((name) => uses(setting, name));
    bad.add(setting.name);
    if (!derived) problems.push({ setting: source, value, hint: hintOf(result.error) });
    // loadConfig throws when there is a problem, so no caller sees this value.
    return undefined as T;
  };
}

function hintOf(error: { readonly issues: readonly { readonly message: string }[] }): string {
  return error.issues[0]?.message ?? 'is not allowed';
}

function uses(setting: Setting<unknown>, name: string): boolean {
  return setting.default?.includes(`<${name}>`) ?? false;
}

function expand(text: string, given: ReadonlyMap<string, Given>): string {
  return text.replace(/<([a-z-]+)>/g, (_, name: string) => {
    if (name === 'hostname') return hostname();
    const fallback = allSettings.find((row) => row.name === name)?.default ?? '';
    return given.get(name)?.value ?? expand(fallback, given);
  });
}

function storeConfig(
  store: StoreAddress | undefined,
  read: Read,
  given: ReadonlyMap<string, Given>,
  problems: ConfigProblem[],
): StoreConfig {
  const files = {
    caFile: read(settings.etcdCa),
    certFile: read(settings.etcdCert),
    keyFile: read(settings.etcdKey),
    user: read(settings.etcdUser),
    passwordFile: read(settings.etcdPasswordFile),
  };
  const refuse = (setting: Setting<unknown>, hint: string) => {
    const found = given.get(setting.name);
    if (found) problems.push({ setting: found.source, value: found.value, hint });
  };
  const together = (one: Setting<unknown>, other: Setting<unknown>) => {
    if (given.has(one.name) === given.has(other.name)) return;
    for (const setting of [one, other]) {
      refuse(setting, `needs ${one.name} and ${other.name} together`);
    }
  };
  if (store === undefined) return { kind: 'embedded' };
  if (store.kind === 'embedded') {
    for (const setting of etcdSettings)
      refuse(setting, 'is for --store etcd://… or etcds://… only');
    return store;
  }
  if (!store.tls) {
    for (const setting of tlsSettings) refuse(setting, 'is for --store etcds://… (TLS) only');
  }
  together(settings.etcdCert, settings.etcdKey);
  together(settings.etcdUser, settings.etcdPasswordFile);
  return { ...store, ...files };
}

const tlsSettings = [settings.etcdCa, settings.etcdCert, settings.etcdKey];
const etcdSettings = [...tlsSettings, settings.etcdUser, settings.etcdPasswordFile];

/** Checks the settings that depend on each other. */
function checkTogether(config: Config, problems: ConfigProblem[]): void {
  const { socket, adminSocket, volumeDir, mountDir } = config;
  if (socket === adminSocket) {
    problems.push({
      setting: '--admin-socket',
      value: adminSocket,
      hint: 'is the same as --socket; use two paths',
    });
  }
  if (isWithin(volumeDir, mountDir) || isWithin(mountDir, volumeDir)) {
    problems.push({
      setting: '--mount-dir',
      value: mountDir,
      hint: `overlaps with --volume-dir ${volumeDir}; use two directories side by side`,
    });
  }
}

function isWithin(inner: string, outer: string): boolean {
  return inner === outer || inner.startsWith(outer === '/' ? '/' : `${outer}/`);
}

function deepFreeze<T extends object>(value: T): T {
  for (const inner of Object.values(value)) {
    if (typeof inner === 'object' && inner !== null) deepFreeze(inner);
  }
  return Object.freeze(value);
}
