import type { MemberMemory } from './learnt-members.ts';
import type { EtcdTls } from './tls.ts';

export interface EtcdOptions {
  /** One or more members of one cluster, as `host:port`. */
  readonly endpoints: readonly string[];
  /** The certificates, or what reads them: it is asked at each connection. Absent: plain text. */
  readonly tls?: EtcdTls | (() => Promise<EtcdTls>) | undefined;
  readonly auth?: EtcdLogin | undefined;
  /** The deadline of one call. Default 2,000. */
  readonly callTimeoutMs?: number;
  /** Remembers further members, which the cluster names. Absent: `endpoints` are all that is used. */
  readonly memory?: MemberMemory | undefined;
}

export interface EtcdLogin {
  readonly user: string;
  /** The password, or what reads it: it is asked at each login. */
  readonly password: string | (() => Promise<string>);
}
