// The specification in docs/spec, checked with SPIN in all its states: as it is, and with parts
// left out.
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { runOk } from '../support/processes.ts';
import { describeWith } from '../support/requirements.ts';
import { makeTemporaryDirectory } from '../support/temporary-directory.ts';

const specification = join(import.meta.dirname, '../../docs/spec/ticket-queue.pml');

const threeClients = ['-DCLIENTS=3', '-DREQUESTS=8'];
const permits = ['-DCLIENTS=4', '-DREQUESTS=3', '-DPERMITS=2'];
/** Leave out the shared requests, or all but those for permits. */
const [withoutShared, permitsOnly] = ['-DFIRST=2', '-DFIRST=3'];

describeWith(['spin'], 'the specification of the ticket queue', () => {
  test.each([
    ['three clients and two locks', threeClients],
    ['four clients and one lock', ['-DCLIENTS=4', '-DREQUESTS=2']],
    ['four clients, one lock and two permits', [...permits, withoutShared]],
    ['three clients, shared ones too, and two permits', [...permits, '-DCLIENTS=3']],
  ])('keeps all its laws with %s', async (_name, bounds) => {
    const report = await check(bounds);
    expect(violations(report)).toEqual([]);
    expect(report).toContain('errors: 0');
    expect(report).not.toMatch(/search not completed|search depth too small/i);
    // A step that is never taken would prove nothing.
    expect(report).toMatch(/unreached in proctype Client\n\s*\(0 of \d+ states\)/);
  });

  test.each([
    {
      missing: 'the guard of writes',
      variant: ['-DNO_GUARD', ...threeClients],
      breaks: ['writeOrder'],
    },
    {
      missing: 'the check of its own ticket at the grant',
      variant: ['-DOWN_TICKET_UNCHECKED', ...threeClients],
      breaks: ['grantOrder'],
    },
    {
      missing: 'a second look at the queue by a woken client',
      variant: ['-DWOKEN_IS_GRANTED', ...threeClients],
      breaks: ['closedGate', 'exclusion', 'grantOrder', 'writeOrder'],
    },
    {
      missing: 'the wait of shared requests for earlier exclusive ones',
      variant: ['-DSHARED_OVERTAKES', ...threeClients],
      breaks: ['exclusion', 'grantOrder', 'writeOrder'],
    },
    {
      missing: 'a single step that queues for all locks',
      variant: ['-DONE_BY_ONE', '-DCLIENTS=2', '-DREQUESTS=8'],
      breaks: ['allOrNothing', 'invalid end state'],
    },
    {
      missing: 'the count of exactly as many permits as there are',
      variant: ['-DONE_TOO_MANY', ...permits, permitsOnly],
      breaks: ['permitCount'],
    },
    {
      missing: 'a watch on as many permits as there are',
      variant: ['-DNEAREST_PERMIT_ONLY', ...permits, permitsOnly],
      breaks: ['idlePermit'],
    },
  ])('fails without $missing: $breaks', async ({ variant, breaks }) => {
    expect(violations(await check(variant))).toEqual(breaks);
  });
});

/** Returns SPIN's report on the search of all states, which goes on after an error. */
async function check(definitions: readonly string[]): Promise<string> {
  await using directory = await makeTemporaryDirectory();
  const here = { cwd: directory.path };
  await runOk('spin', ['-a', ...definitions, specification], here);
  await runOk('gcc', ['-O1', '-DSAFETY', '-DNOCLAIM', '-o', 'pan', 'pan.c'], here);
  return await runOk('./pan', ['-m10000', '-c0'], here);
}

function violations(report: string): string[] {
  const found = report.matchAll(/^pan:\d+: (?:assertion violated )?(.+) \(at depth \d+\)$/gm);
  return [...new Set([...found].map(([, property = '']) => property))].sort();
}
