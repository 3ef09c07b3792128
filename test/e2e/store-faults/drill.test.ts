// The commands of docs/operating/etcd.md, run as they stand there: the user of etcd, a backup, and the drill. A
// real etcd and a real daemon.
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, test } from '@jest/globals';
import { repository } from '../../support/berth.ts';
import { describeWith } from '../../support/requirements.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';
import { etcdTools } from '../../support/tools.ts';
import { startBareCluster } from '../hosts/bare-cluster.ts';

describeWith(['root', 'etcd'], 'the pages for operators', () => {
  test('the drill lists the volumes that a backup of etcd knows, and touches nothing', async () => {
    await using cluster = await startBareCluster();
    const node = await cluster.join('n1');
    for (const name of ['db', 'web']) await node.create(name);
    await using scratch = await makeTemporaryDirectory();
    const before = await cluster.etcd.revision();
    const [save = '', drill = ''] = (await commandsBelow('## Back up')).map((each) =>
      each.replaceAll(/\/var\/backups|\/tmp/g, scratch.path),
    );
    const { etcd } = etcdTools('3.5');
    const env = { PATH: `${dirname(etcd)}:${process.env.PATH}` };
    const of = { ...env, ETCDCTL_ENDPOINTS: cluster.etcd.endpoints.join(',') };
    const saved = await node.host.exec('sh', ['-e', '-c', save], { env: of });
    expect(saved).toMatchObject({ code: 0 });
    const done = await node.host.exec('sh', ['-c', drill], { env });
    expect(done).toMatchObject({ code: 0 });
    expect(done.stdout.split('\n').filter((line) => line.startsWith('/berth/'))).toEqual([
      '/berth/records/volumes/db',
      '/berth/records/volumes/web',
    ]);
    expect(await cluster.etcd.revision()).toBe(before);
    expect((await node.ok('List')).Volumes).toHaveLength(2);
  });
});

/** Returns the blocks of commands below a heading, up to the next one of its level. */
async function commandsBelow(heading: string): Promise<string[]> {
  const text = await readFile(join(repository, 'docs/operating/etcd.md'), 'utf8');
  const [part = ''] = text.split(`\n${heading}\n`)[1]?.split('\n## ') ?? [];
  return part
    .split('```sh\n')
    .slice(1)
    .map((block) => block.split('```')[0] ?? '');
}
