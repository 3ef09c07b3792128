import type { UmlHost } from '../../support/uml-host.ts';

/** A call of the plugin: `Mount` with its body. */
export type Call = readonly [method: string, body: object];

/**
 * Calls the plugin on a guest without an engine, all calls in one process, because its start takes
 * seconds.
 */
export async function callInGuest(
  guest: Pick<UmlHost, 'execOk'>,
  ...calls: readonly Call[]
): Promise<void> {
  const script = `
    import { callPlugin } from '${import.meta.dirname}/../../support/plugin-call.ts';
    for (const [method, body] of JSON.parse(process.argv[1])) {
      const answer = await callPlugin('/run/docker/plugins/berth.sock', 'VolumeDriver.' + method, body);
      if (answer.body.Err) throw new Error(method + ': ' + answer.body.Err);
    }`;
  await guest.execOk('node', '--input-type=module', '--eval', script, JSON.stringify(calls));
}
