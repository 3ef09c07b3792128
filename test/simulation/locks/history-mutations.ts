import type { Mutation } from '../mutation.ts';

const engine = (file: string) => `lib/lock/${file}`;
const store = (file: string) => `lib/lock/stores/${file}`;
const simulated = 'test/simulation/locks/put-back.test.ts';
const proof = 'test/unit/lib/lock/engine/mirror-proof.test.ts';
const judged = 'test/unit/lib/lock/history-record.test.ts';
const putBack = 'test/contract/stores/etcd/history.test.ts';
const putBackPostgres = 'test/contract/stores/postgres/history.test.ts';
const putBackFile = 'test/contract/stores/embedded/put-back.test.ts';

/** Texts by which a store that was put back is noticed, and its quarantine is kept. */
export const historyMutations: readonly Mutation[] = [
  {
    promise: 'history: a broken lock whose ticket stands again is free',
    file: engine('engine/held-locks.ts'),
    from: 'if (!this.#locks.has(nonce) && !this.#kept.has(lock)) tickets.forget(lock.ticket);',
    to: '',
    test: putBack,
  },
  {
    promise: 'history: a restored etcd is noticed by its log',
    file: store('etcd/history-verdict.ts'),
    from: 'seen.spare < spare',
    to: 'seen.spare < spare - 1e6',
    test: judged,
  },
  {
    promise: 'history: a revision that went back is noticed',
    file: store('history-record.ts'),
    from: 'revision >= floor',
    to: 'revision >= 0',
    test: simulated,
  },
  {
    promise: 'history: the quarantine refuses those without a proof',
    file: store('store-history.ts'),
    from: 'if (isQuarantined) throw new StoreUnavailableError(this.#quarantineText());',
    to: '',
    test: simulated,
  },
  {
    promise: 'history: an answer of the history before is not believed',
    file: store('store-history.ts'),
    from: 'if (this.#changes === changes) return answer;',
    to: 'return answer;',
    test: simulated,
  },
  {
    promise: 'history: the mirror proves no grant of another history',
    file: engine('engine/mirror-proof.ts'),
    from: 'if (historyId !== store.historyId || historyId !== mirror.history?.id) return false;',
    to: '',
    test: proof,
  },
  {
    promise: 'history: a proof is of the last change only',
    file: store('store-history.ts'),
    from: 'if (proof === this.#changes && !this.#pending) return;',
    to: 'return;',
    test: putBack,
  },
  {
    promise: 'history: every lock is unproven at once',
    file: engine('lock-manager.ts'),
    from: 'mirror.onHistoryChanged((change) => sessions.historyChanged(new HistoryChangedError(change)));',
    to: '',
    test: putBack,
  },
  {
    promise: 'history: nobody without a proof is granted a lock in a quarantine of etcd',
    file: store('etcd/history.ts'),
    from: 'if (proof === undefined) return isAbsent(key);',
    to: "if (proof === undefined) return isAbsent(Buffer.from('/none'));",
    test: putBack,
  },
  {
    promise: 'history: a lock that was unproven before is lost',
    file: engine('use/kept-lock.ts'),
    from: "this.#state === 'unproven' && this.#proof !== number",
    to: "this.#state === 'lost' && this.#proof !== number",
    test: putBack,
  },
  {
    promise: 'history: nobody without a proof is granted a lock in a quarantine of PostgreSQL',
    file: store('postgres/queue.ts'),
    from: 'WHERE until > clock_timestamp())',
    to: 'WHERE FALSE)',
    test: putBackPostgres,
  },
  {
    promise: 'history: a restored dump of PostgreSQL is noticed',
    file: store('postgres/stored-history.ts'),
    from: 'if (found.isCopied)',
    to: "if (found.isCopied && found.cluster === '?')",
    test: putBackPostgres,
  },
  {
    promise: 'history: an older lock file is refused',
    file: store('embedded/file-verdict.ts'),
    from: 'if (found.revision >= floor) return undefined;',
    to: 'if (found.revision >= 0) return undefined;',
    test: putBackFile,
  },
  {
    promise: 'history: a lock file that is replaced while it is used is refused',
    file: store('embedded/lock-file.ts'),
    from: '    this.#guard?.check();\n',
    to: '',
    test: putBackFile,
  },
];
