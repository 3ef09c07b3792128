import type { Mutation, MutationList } from '../mutation.ts';

const known = 'test/simulation/fencing/known-faults.test.ts';
const planUnit = 'test/unit/sentinel/plan.test.ts';
const mergeUnit = 'test/unit/sentinel/merge-watch.test.ts';

const mutations: readonly Mutation[] = [
  {
    promise: 'exclusion: users stand still before the lease expires',
    file: 'sentinel/wish.ts',
    from: "if (leftMs <= 0 || deadlineMs < distrustedBeforeMs) return 'stand-still';",
    to: "if (leftMs <= -4_000 || deadlineMs < distrustedBeforeMs) return 'stand-still';",
  },
  {
    promise: 'exclusion: a sleeping process releases nobody (faults 2)',
    file: 'sentinel/user-control.ts',
    from: 'if (this.isReachable(user)) await this.#stops.hold(user);',
    to: "if ((await this.#stops.standing(user)).is === 'freezing') await this.#stops.release(user, false);\n    else await this.#stops.hold(user);",
    test: known,
  },
  {
    promise: 'stands still: a user of two volumes runs only if both may (faults 2)',
    file: 'sentinel/plan.ts',
    from: "return demands.includes('stand still') ? 'stand still' : 'run';",
    to: "return demands.includes('run') ? 'run' : 'stand still';",
  },
  {
    promise: 'never forgets: absence from a list releases no volume (faults 3)',
    file: 'sentinel/merge-watch.ts',
    from: 'watch.protocol < 2 ? !hasStoppedUsers(volume.volume) : isNamed(volume);',
    to: 'watch.protocol < 2 || !isNamed(volume) || !hasStoppedUsers(volume.volume);',
  },
  {
    promise: 'never forgets: a change of the watch releases no other volume',
    file: 'sentinel/merge-watch.ts',
    from: 'return !isReleased && !next;',
    to: 'return false;',
  },
  {
    promise: 'stands still: a mount with another mark and no release is the same mount (faults 3)',
    file: 'sentinel/merge-watch.ts',
    from: 'return watch.protocol < 2 || isNamed(former);',
    to: 'return true;',
  },
  {
    promise: "exclusion: the engine's own copies are stopped (faults 4)",
    file: 'sentinel/plan.ts',
    from: "if (user.kind === 'host' && !view.fenceHostProcesses) return [];",
    to: "if (user.kind === 'engine') return [];\n  if (user.kind === 'host' && !view.fenceHostProcesses) return [];",
  },
  {
    promise: 'exclusion: a jump of the time of day stops everybody first (faults 6)',
    file: 'sentinel/clock-jump.ts',
    from: 'return jumpedMs >= smallestJumpMs ? jumpedMs : 0;',
    to: 'return 0;',
    test: known,
  },
  {
    promise: 'exclusion: a successor knows the clock of its predecessor (faults 6)',
    file: 'sentinel/sentinel.ts',
    from: 'new ClockJump(clock, this.#state.clockNews)',
    to: 'new ClockJump(clock, undefined)',
    test: known,
  },
  {
    promise: 'never stuck: what a predecessor holds is found from the kernel (faults 7)',
    file: 'sentinel/sentinel.ts',
    from: 'for (const user of await this.#options.scan.held(this.#state.volumes.map(this.#mounted))) {',
    to: 'for (const user of [] as User[]) {',
    test: known,
  },
  {
    promise: 'never stuck: what a predecessor holds is looked for until the look succeeds',
    file: 'sentinel/sentinel.ts',
    from: 'const mayAdopt = isUnknown || !this.#hasAdopted;',
    to: 'const mayAdopt = isUnknown;',
    test: known,
  },
  {
    promise: 'never stuck: a file system that a predecessor froze is thawed (faults 7)',
    file: 'sentinel/state.ts',
    from: "if (ownsFileSystem) this.changeFence(volume, { fs: 'freezing' });",
    to: 'if (ownsFileSystem) this.changeFence(volume, {});',
    test: known,
  },
  {
    promise: 'exclusion: groups are frozen before an engine is asked (faults 8, F0)',
    file: 'sentinel/user-control.ts',
    from: 'if (this.isReachable(user)) await this.#stops.freeze(user);\n    else await',
    to: "await this.#engine.pause(user.id ?? '', engineLimitMs).catch(() => {});\n    if (this.isReachable(user)) await this.#stops.freeze(user);\n    else await",
    test: known,
  },
  {
    promise: 'a sentinel understands a daemon of the release before (faults 10)',
    file: 'sentinel/merge-watch.ts',
    from: 'watch.protocol < 2 ? !hasStoppedUsers(volume.volume) : isNamed(volume);',
    to: 'isNamed(volume);',
    test: mergeUnit,
  },
  {
    promise: 'exclusion: frozen users are held out of the reach of their engine (B5)',
    file: 'sentinel/user-control.ts',
    from: 'if (this.isReachable(user)) await this.#stops.hold(user);',
    to: '',
    test: known,
  },
  {
    promise: 'honest report: the look that proves a fence began after everybody stood still (B3)',
    file: 'sentinel/plan.ts',
    from: 'return (stillSinceMs ?? Number.POSITIVE_INFINITY) <= look.beganAtMs;',
    to: 'return stillSinceMs !== undefined;',
    test: planUnit,
  },
  {
    promise: 'honest report: the look that proves a fence began after the stop',
    file: 'sentinel/plan.ts',
    from: 'if (look.beganAtMs < (fence.stopSinceMs ?? Number.POSITIVE_INFINITY)) return false;',
    to: '',
  },
  {
    promise: 'honest report: an own file system is frozen or cut off (0a)',
    file: 'sentinel/plan.ts',
    from: 'isStill(volume, view) && isFileSystemStill(fence, watched.ownsFileSystem);',
    to: 'isStill(volume, view);',
  },
  {
    promise: 'exclusion: what does not freeze in time is cut off (0a)',
    file: 'sentinel/plan.ts',
    from: "return now >= lateMs + freezeLimitMs ? [{ do: 'cut off', volume: watched }] : freeze;",
    to: 'return freeze;',
  },
  {
    promise: 'honest report: a volume that is thawed is not fenced any more',
    file: 'sentinel/plan.ts',
    from: "const beforeThaw = fence.phase === 'fenced' ? enter({ phase: 'preparing' }) : [];",
    to: 'const beforeThaw: Action[] = [];',
  },
  {
    promise: 'exclusion: a lost volume is cut off',
    file: 'sentinel/plan.ts',
    from: "return fs === 'cut-off' ? [] : [{ do: 'cut off', volume: watched }];",
    to: 'return [];',
    test: planUnit,
  },
  {
    promise: 'exclusion: an evicted volume is cut off at its deadline',
    file: 'sentinel/plan.ts',
    from: "if (state === 'lost' || now >= deadlineMs) {",
    to: "if (state === 'lost') {",
    test: known,
  },
  {
    promise: 'exclusion: an evicted volume is frozen when the clock has jumped',
    file: 'sentinel/plan.ts',
    from: 'if (deadlineMs < distrustedBeforeMs) return isFileSystemStill(fence, true) ? [] : freeze;',
    to: '',
    test: known,
  },
  {
    promise: 'stands still: a user runs again only when the users of lost volumes are known',
    file: 'sentinel/plan.ts',
    from: 'return look.beganAtMs >= (stopSinceMs ?? Number.POSITIVE_INFINITY);',
    to: 'return true;',
    test: planUnit,
  },
  {
    promise: 'fences: a process that waits in a frozen file system does not count',
    file: 'sentinel/plan.ts',
    from: "if (maySleep && standing.is === 'freezing') return true;",
    to: '',
  },
  {
    promise: 'never stuck: users are released',
    file: 'sentinel/plan.ts',
    from: "return isOpen ? [{ do: 'release', stopped }] : [];",
    to: 'return [];',
  },
  {
    promise: 'never stuck: what a person had paused stays paused',
    file: 'sentinel/plan.ts',
    from: "const wasPaused = stopped ? stopped.shown === 'persons' : standing.is === 'frozen';",
    to: 'const wasPaused = false;',
    test: known,
  },
  {
    promise: 'never stuck: a late pause of the engine is undone',
    file: 'sentinel/releases.ts',
    from: 'if (!isConfirmed || !isWanted()) return;',
    to: 'if (!isWanted()) return;\n    if (!isConfirmed) return state.removeStopped(user.key);',
    test: known,
  },
  {
    promise: 'never stuck: an engine shows what the kernel has released as running',
    file: 'sentinel/releases.ts',
    from: "if (shown === 'persons') {",
    to: "if (shown !== 'asked') {",
    test: known,
  },
  {
    promise: 'never stuck: an engine that resumes only what is frozen finds it frozen',
    file: 'sentinel/user-control.ts',
    from: 'if (this.isReachable(user)) await this.#stops.freeze(user);\n      await',
    to: 'await',
    test: known,
  },
  {
    promise: 'exclusion: the state is written before the machine is changed',
    file: 'sentinel/perform.ts',
    from: 'for (const action of actions) this.#intend(action);\n    state.commit();',
    to: 'for (const action of actions) this.#intend(action);',
  },
];

/** Texts in the sentinel; the numbers name the reports of trials that found the fault. */
export const fencingMutations: MutationList = {
  mutations,
  simulation: 'test/simulation/fencing/simulation.test.ts',
  test: 'no host writes',
};
