import { chmod, chown, stat } from 'node:fs/promises';
import { expect, test } from '@jest/globals';
import { currentMountsAt } from '../../../lib/linux/mountinfo.ts';
import type { DriverVolume } from '../../../lib/volumes/drivers/driver.ts';
import { InvalidRequestError } from '../../../lib/volumes/errors.ts';
import type { DriverBench, DriverFixture, OptionTrial } from '../bench/driver-bench.ts';
import { command, hasTrash, never } from '../bench/driver-bench.ts';

/** How the options that every driver has are tried. A driver's fixture has the trials of its own options. */
const commonTrials: Readonly<Record<string, OptionTrial>> = {
  uid: {
    good: { 4294967294: '4294967294', '0042': '42', 999: '999' },
    bad: ['postgres', '-1', '4294967295', '1e3', '', ' 1', '0x10'],
    shows: async ({ root }) => String((await stat(root)).uid),
  },
  gid: {
    good: { 998: '998', 70000: '70000' },
    bad: ['root', '-1', '4294967295'],
    shows: async ({ root }) => String((await stat(root)).gid),
  },
  mode: {
    good: { 1777: '1777', '0700': '0700', '2770': '2770', 750: '0750' },
    bad: ['u=rwx', '0800', '77', '07777', '4755', '-700'],
    shows: async ({ root }) => ((await stat(root)).mode & 0o7777).toString(8).padStart(4, '0'),
  },
  'mount-options': {
    good: {
      'noatime,noexec,noatime,nodev': 'nosuid,nodev,noexec,noatime',
      'suid,dev': 'suid,dev',
      '': 'nosuid,nodev',
      'dev,nodiratime': 'nosuid,dev,nodiratime',
    },
    bad: ['ro', 'nosuid,suid', 'bind', 'noexec,loop=/dev/sda', 'nodev nosuid', 'remount', 'NOSUID'],
    shows: async ({ root, asked }) => {
      const options = (await currentMountsAt(root)).at(-1)?.options ?? [];
      const positive = { suid: 'nosuid', dev: 'nodev' };
      const isShown = (word: string) =>
        word in positive
          ? !options.includes(positive[word as keyof typeof positive])
          : options.includes(word);
      return asked.split(',').filter(isShown).join(',');
    },
  },
};

/** How the option of the drivers with a trash is tried; the trash itself is the caller's. */
const keepTrial: Readonly<Record<string, OptionTrial>> = {
  keep: {
    good: { '168h': '7d', '0': '0', '90s': '90s', default: 'default', '366d': '366d' },
    bad: ['7', '1w', '-1d', '0s', '367d', '', ' 7d', '1.5d', 'yes'],
    shows: async ({ asked }) => asked,
  },
};

/** Tries every option that a driver lists: what it allows, refuses, and does to a volume. */
export function optionContract(bench: () => DriverBench, fixture: DriverFixture): void {
  const { options } = fixture.makeDriver({ volumeDir: '/nowhere' });
  const trials: Readonly<Record<string, OptionTrial>> = {
    ...commonTrials,
    ...(hasTrash(fixture) && keepTrial),
    ...fixture.trials,
  };
  const tried = fixture.tried ?? Object.keys(options);

  test('every option of the driver has a trial, and every trial its option', () => {
    expect(Object.keys(trials).sort()).toEqual(Object.keys(options).sort());
  });

  test.each(tried)('%s: refuses what it can not be, and names it', (option) => {
    const { driver } = bench();
    for (const value of trialOf(option).bad) {
      const parse = () => driver.parseOptions({ ...fixture.options, [option]: value });
      expect(parse).toThrow(InvalidRequestError);
      expect(parse).toThrow(option);
    }
    expect(options[option]?.help).toMatch(/^\S.*\S$/);
  });

  test.each(tried)('%s: a volume has what was asked for', async (option) => {
    const { driver } = bench();
    const good = Object.entries(trialOf(option).good);
    for (const [value, normal] of good) {
      const { options: parsed } = volumeWith('db', { [option]: value });
      expect(parsed[option]).toBe(normal);
      expect(driver.parseOptions(parsed)).toEqual(parsed);
    }
    for (const [value, normal] of good.slice(0, 2)) {
      const volume = volumeWith('db', { [option]: value });
      await driver.create(volume, never);
      expect(await shown(option, volume)).toBe(normal);
      await driver.create(volume, never);
      expect(await shown(option, volume)).toBe(normal);
      await driver.remove(volume, never);
    }
  });

  const withKind = (kind: string) => tried.filter((option) => options[option]?.inCopies === kind);

  test.each(withKind('given'))(
    '%s: it is given once, when the volume or the copy is made',
    async (option) => {
      const { driver } = bench();
      const [value = '', normal] = Object.entries(trialOf(option).good)[0] ?? [];
      const volume = volumeWith('db', { [option]: value });
      await driver.create(volume, never);
      await bench().inside(volume, async (root) => {
        await chown(root, 7, 8);
        await chmod(root, 0o711);
        await command('touch', [`${root}/file`]);
      });
      const changed = await shown(option, volume);
      expect(changed).not.toBe(normal);
      await driver.create(volume, never);
      expect(await shown(option, volume)).toBe(changed);
      if (!driver.capabilities.copies) return;
      await driver.clone({ volume }, volumeWith('as-it-is', {}), never);
      expect(await shown(option, volumeWith('as-it-is', {}))).toBe(changed);
      const copy = volumeWith('copy', { [option]: value });
      await driver.clone({ volume }, copy, never);
      expect(await shown(option, copy)).toBe(normal);
      await expect(bench().read(copy, 'file')).resolves.toBe('');
    },
  );

  test('an interrupted create that is repeated with other options gives what the last one asks for', async () => {
    const { driver } = bench();
    for (const option of tried) {
      const { good } = trialOf(option);
      await driver.create(volumeWith(option, {}), never);
      const [value = '', normal] = Object.entries(good)[0] ?? [];
      const volume = volumeWith(option, { [option]: value });
      await driver.create(volume, never);
      expect([option, await shown(option, volume)]).toEqual([option, normal]);
    }
    expect(await bench().leftovers()).toEqual([]);
  });

  test('a volume of a release without mount-options is mounted as it was then', async () => {
    const { 'mount-options': _, ...before } = bench().volume('db').options;
    const volume = { name: 'db', options: before };
    await bench().driver.create(volume, never);
    await bench().inside(volume, async (root) => {
      const shownThere = (await currentMountsAt(root)).at(-1)?.options;
      expect(shownThere).not.toContain('nosuid');
      expect(shownThere).not.toContain('nodev');
    });
  });

  function trialOf(option: string): OptionTrial {
    const trial = trials[option];
    if (trial === undefined) throw new Error(`the contract does not know how to try ${option}`);
    return trial;
  }

  function volumeWith(name: string, more: Readonly<Record<string, string>>): DriverVolume {
    return { name, options: bench().driver.parseOptions({ ...fixture.options, ...more }) };
  }

  function shown(option: string, volume: DriverVolume): Promise<string | undefined> {
    const { storageDir } = bench();
    const asked = volume.options[option] ?? '';
    return bench().inside(volume, (root) =>
      trialOf(option).shows({ volume, root, storageDir, asked }),
    );
  }
}
