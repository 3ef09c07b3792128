import { test } from '@jest/globals';
import { expectProven, numbered } from './tested-names.ts';

/** What went wrong with earlier volume plugins: `defect A1` in the name of a test. */
const defects = {
  A1: 'a host that has lost its lock goes on writing, while another has the volume',
  A2: 'killed just after a Mount, it leaves a lock for ever; a further Mount makes it so again',
  A3: 'stopped, it leaves locks, a socket, and containers that nobody stops when the locks end',
  A4: 'of several locks, the first stay when the last can not be had in time',
  A5: 'an Unmount of what is not mounted takes a lock, and spoils the next Mount',
  A6: 'after a Mount that failed, the volume can never be mounted on that host again',
  A7: 'a Mount that failed is answered minutes later, when the volume may be shared',
  A8: 'two operations of one host are under one lock, which ends with the first of them',
  A9: 'a lock does not say whose it is, so others may prolong or delete it',
  A10: 'an Unmount is answered before its lock is free, and may free the next one',
  A11: 'a lock that an operator clears has two owners, or outlives its volume',
  A12: 'a command that is killed under a lock leaves it for ever',
  A13: 'to ask whether a volume is in use takes its lock',
  A14: 'a TTL of none is accepted',
  A15: 'what is read may be stale; what belongs together is written in steps',
  B1: 'a container whose volume is not mounted in the kernel lets every start fail',
  B2: "the kernel's table of mounts is misread, so that mounts are not found",
  B3: 'locks that are taken at the start are never released',
  B4: 'containers that are paused or being restarted do not count',
  B5: 'it does not start while the engine is down',
  B6: 'one bad volume, or a lock that another host has, and no volume works',
  B7: 'what is mounted but in use by nobody can not be mounted, and loses its mount by the try',
  B8: 'a second Mount is answered before the volume is mounted',
  B9: 'an Unmount while a Mount is under way leaves a mount and a lock that nothing ends',
  B10: 'several Mounts with one ID are refused, or counted wrongly',
  B11: 'after two errors of the store nothing is heard of it any more',
  B12: 'it ends itself when something is mounted twice',
};

/** What berth does when something breaks: these words at the front of the name of a test. */
const breakdowns = {
  'when the plugin restarts': 'it takes its locks and mounts over; containers notice nothing',
  'when a host reboots': 'its old locks are free at once, not only after the TTL',
  'when the engine crashes':
    'or ends in order, or is replaced: no mount is left over or taken away',
  'when a host loses the store':
    'containers stand still before the deadline; they go on, or are killed when another may have it',
  'when the plugin is gone': 'killed or frozen: the same, by the sentinel',
  'when a host dies': 'the next has its volumes after the TTL, and with failover=manual when told',
  'when a dead host comes back': 'it sees that its lock is gone, and lets go of the volume first',
  'when an operator clears a lock': 'that of a living holder by force only, and it is fenced',
  'when work is interrupted': 'the next attempt ends it, or the doctor finds it',
  'when the engine has not met the plugin': 'the daemon has the engine ask for it',
  'when a client gives up': 'its Mount is undone',
  'when the store is full, slow or failing': 'a clear error in time, and nothing half done',
  'when nothing must be fenced': 'access=shared and on-lost=keep go on',
};

/** What engines and hosts do to a plugin: `scenario 1` in the name of a test. */
const scenarios = {
  1: 'a name that another driver has',
  2: 'a named volume, from its creation to its end',
  3: 'an unnamed volume comes and goes with its container',
  4: 'a container takes the volumes of another',
  5: 'an unnamed volume goes with its only user',
  6: 'a driver that is down does not keep others from working',
  7: 'the plugin appears 2 s after the request',
  8: 'a volume is used without naming its driver',
  9: 'the list shows drivers and names',
  10: 'what is not there is not found; what is there has a status',
  11: 'the engine knows whose a volume is after its restart',
  12: 'a Get that finds nothing',
  13: 'nothing asks for a path while volumes are made and listed',
  14: 'each Mount has an ID',
  15: 'the capabilities are asked for once',
  16: 'a volume that was removed elsewhere',
  17: 'a Mount that fails',
  18: 'docker cp from a running container',
  19: 'a managed plugin is as it was, enabled or disabled, when the engine is back',
  20: 'a managed plugin goes with its engine or stays, with live-restore and without',
  21: 'what one container writes the next one reads',
  22: 'a managed plugin with volumes is not disabled',
  23: 'a managed plugin is enabled, disabled and removed',
  24: 'settings of a managed plugin',
  25: 'a managed plugin is found by what it can do, and its volumes outlive an upgrade',
  26: 'a managed plugin with devices, binds and a propagated mount',
  27: 'a service of a swarm waits for the plugin of its volume',
  28: 'a swarm rolls the plugin out as a service',
  29: 'input that makes no sense',
  30: 'connections that are lost in the middle',
  31: 'the store is away, for a moment and for long',
  32: 'the store is away when the engine starts',
  33: 'a volume that is mounted elsewhere is not removed',
  34: 'two hosts mount one volume at the same time',
  35: 'a host dies with a volume mounted, and comes back',
  36: 'a Mount takes longer than the engine waits',
  37: 'an engine is killed below a container, which is started again or not',
  38: 'docker cp while nothing else works',
  39: 'an Unmount is refused, then the container starts again',
  40: 'the plugin is killed below a container',
  41: '50 containers at once, and 10,000 requests',
  42: 'one volume is created on three hosts at once',
  43: 'a Remove races a Mount',
  44: 'a lock is lost below a container',
  45: 'the plugin is upgraded below a container',
  46: 'Podman: 5 s for a call, one mount ID for all',
  47: 'a stale socket, a second daemon, SIGTERM in the middle',
};

/** Why some have no test. */
const untested = {
  27: 'no test runs a swarm: its scheduler asks what the engine knows, see start-order.test',
  28: 'no test runs a swarm',
  46: 'no test runs Podman; what is special about its mount ID is in reconciler.test',
};

test('every defect of an earlier plugin has a test that berth does not have it', () => {
  expectProven({
    title: 'Defects of earlier plugins',
    promised: defects,
    tagsOf: numbered('defect', /[AB]\d+/),
  });
});

test('everything that can break has a test of what berth does then', () => {
  expectProven({
    title: 'When things break',
    promised: breakdowns,
    tagsOf: (name) => Object.keys(breakdowns).filter((event) => name.includes(event)),
  });
});

test('every scenario of engines and hosts has a test, or a reason why not', () => {
  expectProven({
    title: 'Scenarios of engines and hosts',
    promised: scenarios,
    unproven: untested,
    tagsOf: numbered('scenario', /\d+/),
  });
});
