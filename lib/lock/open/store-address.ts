/** Where locks are kept, as the text of an address says. */
export type StoreAddress =
  | { readonly kind: 'memory' }
  | { readonly kind: 'sqlite'; readonly path: string }
  | { readonly kind: 'postgres'; readonly url: string; readonly schema: string | undefined }
  | { readonly kind: 'kubernetes'; readonly namespace: string | undefined; readonly name: string }
  | EtcdAddress;

export interface EtcdAddress {
  readonly kind: 'etcd';
  /** Each `host:port`. */
  readonly endpoints: readonly string[];
  readonly prefix: string;
  readonly isSecure: boolean;
  readonly auth: { readonly user: string; readonly password: string } | undefined;
  /** The paths of PEM files. */
  readonly files: Readonly<Record<CertificateFile, string | undefined>>;
}

export const certificateFiles = ['ca', 'cert', 'key'] as const;
export type CertificateFile = (typeof certificateFiles)[number];

/** Apart from the prefix of berth's daemons, whose volumes are no locks of this program. */
export const defaultPrefix = '/berth-locks';
const etcdPort = 2379;

/**
 * Reads the address of a store. Throws RangeError for one that means nothing; its message never shows
 * a password.
 */
export function parseStoreAddress(text: string): StoreAddress {
  const scheme = /^([a-z][a-z0-9+.-]+):/i.exec(text)?.[1]?.toLowerCase();
  switch (scheme) {
    case 'memory':
      if (text.length > 'memory:'.length) throw unreadable('memory: takes nothing after it');
      return { kind: 'memory' };
    case 'sqlite':
      return { kind: 'sqlite', path: pathIn(text.slice('sqlite:'.length).replace(/^\/\//, '')) };
    case 'postgres':
    case 'postgresql':
      return postgresAddress(text);
    case 'kubernetes':
      return kubernetesAddress(text.slice('kubernetes:'.length));
    case 'etcd':
    case 'etcds':
      return etcdAddress(text);
    case undefined:
      // A word alone is rather a scheme that was forgotten than a file.
      if (!/[./]/.test(text)) throw unreadable('a file has a path, such as ./locks.db');
      return { kind: 'sqlite', path: pathIn(text) };
    default:
      throw unreadable(`there is no store ${scheme}:`);
  }
}

function pathIn(path: string): string {
  if (path === '' || path === ':memory:') throw unreadable('the path of the file is missing');
  return path;
}

/** `NAME`, or `NAMESPACE/NAME`. */
function kubernetesAddress(place: string): StoreAddress {
  const parts = /^(?:(?<namespace>[a-z0-9-]+)\/)?(?<name>[a-z0-9-]+)$/.exec(place)?.groups;
  if (parts?.name === undefined)
    throw unreadable('use kubernetes:NAME or kubernetes:NAMESPACE/NAME');
  return { kind: 'kubernetes', namespace: parts.namespace, name: parts.name };
}

/** The parameter `schema` is ours; all others are PostgreSQL's. */
function postgresAddress(text: string): StoreAddress {
  const [base = '', query] = text.split('?', 2);
  const parameters = (query ?? '').split('&').filter((parameter) => parameter !== '');
  const isSchema = (parameter: string) => parameter.startsWith('schema=');
  const given = parameters.find(isSchema)?.slice('schema='.length);
  const others = parameters.filter((parameter) => !isSchema(parameter)).join('&');
  return {
    kind: 'postgres',
    url: others === '' ? base : `${base}?${others}`,
    schema: given === undefined ? undefined : decoded(given, 'the schema'),
  };
}

const etcdParts =
  /^(?<scheme>etcds?):\/\/(?:(?<login>[^@/?#]*)@)?(?<members>[^@/?#]+)(?<prefix>\/[^?#]*)?(?:\?(?<query>[^#]*))?$/i;
const member = /^(?<host>[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::(?<port>\d{1,5}))?$/;

function etcdAddress(text: string): EtcdAddress {
  const parts = etcdParts.exec(text)?.groups;
  if (parts === undefined) throw unreadable('the members of etcd are missing or unreadable');
  const { scheme = '', login, members = '', prefix = '', query } = parts;
  const isSecure = scheme.toLowerCase() === 'etcds';
  const files = new URLSearchParams(query);
  for (const name of files.keys()) {
    if (isSecure && certificateFiles.some((known) => known === name)) continue;
    throw unreadable(`${name}= is no parameter of ${scheme}:`);
  }
  const file = (name: CertificateFile) => files.get(name) ?? undefined;
  return {
    kind: 'etcd',
    endpoints: members.split(',').map(endpointOf),
    prefix: prefix.length > 1 ? decoded(prefix, 'the prefix') : defaultPrefix,
    isSecure,
    auth: login === undefined ? undefined : loginOf(login),
    files: { ca: file('ca'), cert: file('cert'), key: file('key') },
  };
}

/** Returns `host:port` with etcd's own port if none is given. */
export function endpointOf(text: string): string {
  const { host, port = `${etcdPort}` } = member.exec(text)?.groups ?? {};
  if (host === undefined || Number(port) < 1 || Number(port) > 65_535) {
    throw unreadable(`${text} is no host:port of a member of etcd`);
  }
  return `${host}:${port}`;
}

function loginOf(text: string): NonNullable<EtcdAddress['auth']> {
  const end = text.indexOf(':');
  if (end < 1) throw unreadable('a login of etcd is user:password@');
  return {
    user: decoded(text.slice(0, end), 'the user'),
    password: decoded(text.slice(end + 1), 'the password'),
  };
}

function decoded(text: string, what: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw unreadable(`${what} has a % that begins no escape; write it as %25`);
  }
}

const forms =
  'etcd://HOST:PORT[,HOST:PORT…][/PREFIX], etcds:// for TLS, postgres://USER:PASSWORD@HOST/DATABASE, sqlite:PATH, the path of a file, kubernetes:[NAMESPACE/]NAME, or memory:';

function unreadable(why: string): RangeError {
  return new RangeError(`the address of the locks can't be read: ${why}; use ${forms}`);
}
