// The units of deploy/systemd against the settings that they rely on, and against systemd-analyze.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { loadConfig } from '../../../plugin/config/config.ts';
import { allSettings, variableOf } from '../../../plugin/config/settings.ts';
import { runProcess } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';

const repository = join(import.meta.dirname, '../../..');
const home = '/opt/berth';
const files = ['berth.socket', 'berth.service', 'berth-sentinel.service'] as const;
const textOf = (file: string) =>
  readFileSync(join(repository, 'deploy/systemd', file), 'utf8').replaceAll(home, repository);
const valuesOf = (file: string, key: string) =>
  textOf(file)
    .split('\n')
    .flatMap((line) => (line.startsWith(`${key}=`) ? [line.slice(key.length + 1)] : []));

describe('the systemd units', () => {
  const asDelivered = loadConfig([], {});

  test('open the sockets that the daemon expects', () => {
    const { socket, adminSocket } = asDelivered;
    expect(valuesOf('berth.socket', 'ListenStream')).toEqual([socket, adminSocket]);
    expect(valuesOf('berth.socket', 'SocketMode')).toEqual(['0600']);
    expect(valuesOf('berth.socket', 'Before')).toEqual(['docker.service']);
  });

  test('start an existing program with existing settings', () => {
    const [[program = '', command, ...flags] = []] = valuesOf('berth.service', 'ExecStart').map(
      (line) => line.split(' '),
    );
    expect(existsSync(program)).toBe(true);
    expect(command).toBe('serve');
    expect(() => loadConfig(flags, {})).not.toThrow();
    expect(valuesOf('berth.service', 'RequiresMountsFor')).toEqual([asDelivered.stateDir]);
    const documented = readFileSync(join(repository, 'docs/systemd.md'), 'utf8');
    const known = allSettings.map(variableOf);
    for (const text of [documented, textOf('berth.service')]) {
      for (const [variable] of text.matchAll(/BERTH_[A-Z_]+/g)) expect(known).toContain(variable);
    }
  });

  test('start the sentinel on the socket that the daemon expects', () => {
    const [line = ''] = valuesOf('berth-sentinel.service', 'ExecStart');
    const [node = '', option, program = '', ...flags] = line.split(' ');
    expect(option).toBe('--optimize-for-size'); // The daemon starts its sentinel with it, too.
    expect([node, program].map((path) => existsSync(path))).toEqual([true, true]);
    const { adminSocket, dockerSocket } = asDelivered;
    const sockets = ['--socket', `${adminSocket}.sentinel`, '--docker-socket', dockerSocket];
    expect(flags).toEqual(['--stay', ...sockets]);
    expect(valuesOf('berth-sentinel.service', 'Restart')).toEqual(['always']);
    expect(valuesOf('berth-sentinel.service', 'CPUSchedulingPolicy')).toEqual(['rr']);
    expect(valuesOf('berth.service', 'CPUSchedulingPolicy')).toEqual([]);
  });

  test('let the daemon stop without its sentinel, and restart both however they end', () => {
    expect(valuesOf('berth.service', 'KillMode')).toEqual(['process']);
    expect(valuesOf('berth.service', 'Restart')).toEqual(['always']);
    expect(valuesOf('berth.service', 'StartLimitIntervalSec')).toEqual(['0']);
    expect(valuesOf('berth.service', 'Before')).toEqual(['docker.service']);
  });
});

describeWith(['systemd'], 'systemd', () => {
  test('systemd-analyze verify accepts the units', async () => {
    await using directory = await makeTemporaryDirectory();
    const paths = files.map((file) => join(directory.path, file));
    for (const file of files) writeFileSync(join(directory.path, file), textOf(file));
    const verified = await runProcess('systemd-analyze', ['verify', ...paths]);
    expect(verified).toEqual({ code: 0, stdout: '', stderr: '' });
  });
});
