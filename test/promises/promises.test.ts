// The promises of berth: prints which tests prove which defect, failure or scenario, and fails when
// one has neither a test nor a reason. Reads the names of tests only.
import { test } from '@jest/globals';
import { expectProven, numbered } from './tested-names.ts';

/** The defects of earlier volume plugins; tests have `defect A1` in their names. */
const defects = {
  A1: 'a host that has lost its lock goes on writing while another host has the volume',
  A2: 'a kill just after a Mount leaves a lock for ever, and so does the next Mount',
  A3: 'a stop leaves locks, a socket, and containers that nobody stops when the locks expire',
  A4: 'when the last of several locks is not granted in time, the first ones stay locked',
  A5: 'an Unmount of a volume that is not mounted takes a lock and breaks the next Mount',
  A6: 'after a failed Mount, the volume can never be mounted on that host again',
  A7: 'a failed Mount is answered minutes later, when the volume may be shared',
  A8: 'two operations of one host share one lock, which ends with the first of them',
  A9: 'a lock does not name its owner, so others may renew or delete it',
  A10: 'an Unmount is answered before its lock is released, and may release the next one',
  A11: 'a lock that an operator clears has two owners, or outlives its volume',
  A12: 'a command that is killed under a lock leaves the lock for ever',
  A13: 'a query whether a volume is in use takes its lock',
  A14: 'a TTL of 0 is accepted',
  A15: 'reads may be stale, and related data are written in several steps',
  B1: 'one container whose volume is not mounted in the kernel makes every start fail',
  B2: "the kernel's mount table is misread, so mounts are not found",
  B3: 'locks that are taken at the start are never released',
  B4: 'paused and restarting containers do not count as users',
  B5: 'the plugin does not start while the engine is down',
  B6: 'one bad volume, or a lock of another host, makes all volumes unusable',
  B7: 'an unused mounted volume can not be mounted again, and the attempt unmounts it',
  B8: 'a second Mount is answered before the volume is mounted',
  B9: 'an Unmount during a Mount leaves a mount and a lock that nothing removes',
  B10: 'several Mounts with one ID are refused or counted wrongly',
  B11: 'after two errors of the store the plugin no longer receives its events',
  B12: 'the plugin ends when something is mounted twice',
};

/** The reactions of berth to failures; test names begin with these words. */
const breakdowns = {
  'when the plugin restarts':
    'the next daemon takes over its locks and mounts; containers notice nothing',
  'when a host reboots':
    'its old locks are free after the TTL, in case another machine is its original; without other hosts at once',
  'when the engine crashes': 'stops in order, or is replaced: no mount is left behind or lost',
  'when a host loses the store':
    'containers are paused before the deadline; they resume, or are killed if another host may have the volume',
  'when the plugin is gone': 'killed or frozen: the sentinel pauses its containers in the same way',
  'when a host dies':
    'another host gets its volumes after the TTL, or with failover=manual after a command',
  'when a dead host comes back': 'it finds that its lock has ended, and releases the volume first',
  'when an operator clears a lock': 'a living holder needs --force, and is fenced',
  'when work is interrupted': 'the next attempt completes it, or the doctor finds it',
  'when the engine has not met the plugin': 'the daemon makes the engine call it',
  'when a client gives up': 'its Mount is rolled back',
  'when the store is full, slow or failing':
    'the caller gets a clear error in time, and nothing is half done',
  'when nothing must be fenced': 'containers with access=shared or on-lost=keep go on',
};

/** The scenarios of engines and hosts; tests have `scenario 1` in their names. */
const scenarios = {
  1: 'another driver has a volume of the same name',
  2: 'a named volume is created, used and removed',
  3: 'an unnamed volume is created and removed with its container',
  4: 'a container uses the volumes of another container',
  5: 'an unnamed volume is removed with its only user',
  6: 'a driver that is down does not block other drivers',
  7: 'the plugin appears 2 s after the request',
  8: 'a volume is used without naming its driver',
  9: 'the list shows drivers and names',
  10: 'a missing volume is not found; an existing one has a status',
  11: 'the engine knows the driver of a volume after its restart',
  12: 'a Get finds nothing',
  13: 'the engine asks for no path while volumes are created and listed',
  14: 'each Mount has an ID',
  15: 'the engine asks for the capabilities once',
  16: 'a volume was removed on another host',
  17: 'a Mount fails',
  18: 'docker cp reads from a running container',
  19: 'a managed plugin is enabled or disabled as before after a restart of the engine',
  20: 'a managed plugin ends with its engine, or stays with live-restore',
  21: 'what one container writes the next one reads',
  22: 'a managed plugin with volumes is not disabled',
  23: 'a managed plugin is enabled, disabled and removed',
  24: 'a managed plugin has settings',
  25: 'a managed plugin is found by its capability, and its volumes outlive an upgrade',
  26: 'a managed plugin uses devices, binds and a propagated mount',
  27: 'a service of a swarm waits for the plugin of its volume',
  28: 'a swarm runs the plugin as a service',
  29: 'a request has invalid input',
  30: 'connections break in the middle of a request',
  31: 'the store is away, for a moment or for long',
  32: 'the store is away when the engine starts',
  33: 'a volume that is mounted on another host is not removed',
  34: 'two hosts mount one volume at the same time',
  35: 'a host dies with a volume mounted, and comes back',
  36: 'a Mount takes longer than the engine waits',
  37: 'an engine is killed under a container, which is started again or not',
  38: 'docker cp works while nothing else does',
  39: 'an Unmount is refused, then the container starts again',
  40: 'the plugin is killed under a container',
  41: '50 containers run at once, and 10,000 requests arrive',
  42: 'one volume is created on three hosts at once',
  43: 'a Remove races a Mount',
  44: 'a lock is lost under a container',
  45: 'the plugin is upgraded under a container',
  46: 'Podman waits 5 s for a call and has one mount ID for all containers',
  47: 'the daemon finds a stale socket or a second daemon, or gets SIGTERM in the middle of work',
};

/** The scenarios without a test, with the reason. */
const untested = {
  27: 'no test runs a swarm: its scheduler asks the engine, see e2e/start/start-order',
  28: 'no test runs a swarm',
};

test('every defect of an earlier plugin has a test that proves its absence', () => {
  expectProven({
    title: 'Defects of earlier plugins',
    promised: defects,
    tagsOf: numbered('defect', /[AB]\d+/),
  });
});

test('every kind of failure has a test of the reaction', () => {
  expectProven({
    title: 'When things break',
    promised: breakdowns,
    tagsOf: (name) => Object.keys(breakdowns).filter((event) => name.includes(event)),
  });
});

test('every scenario of engines and hosts has a test, or a reason for none', () => {
  expectProven({
    title: 'Scenarios of engines and hosts',
    promised: scenarios,
    unproven: untested,
    tagsOf: numbered('scenario', /\d+/),
  });
});
