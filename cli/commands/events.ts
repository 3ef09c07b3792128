import type { Command } from 'commander';
import type { EventReply, EventsReply } from '../../plugin/admin/api/status.ts';
import { withCommonOptions } from '../common-options.ts';
import type { CommonOptions, Context, Run } from '../context.ts';

interface EventsOptions extends CommonOptions {
  readonly follow?: boolean;
  readonly volume?: string;
}

export function eventsCommand(root: Command, run: Run): void {
  withCommonOptions(root.command('events'))
    .option('-f, --follow', 'keep printing new events; with --json, one object per line')
    .option('--volume <name>', 'only the events of this volume')
    .description('list what berth did to the volumes of this host by itself, oldest first')
    .action((options: EventsOptions) =>
      run(options, options.volume, async (context) => {
        await (options.follow ? follow(context, options) : list(context, options));
        return undefined;
      }),
    );
}

async function list({ client, print }: Context, options: EventsOptions): Promise<void> {
  const { events } = await client.get<EventsReply>('/events');
  const reply: EventsReply = { events: events.filter((event) => isAskedFor(event, options)) };
  print(reply, (found) => found.events.map(eventText).join(''));
}

async function follow({ client, stdout, json }: Context, options: EventsOptions): Promise<void> {
  for await (const event of client.follow<EventReply>('/events?follow=true')) {
    if (!isAskedFor(event, options)) continue;
    stdout.write(json ? `${JSON.stringify(event)}\n` : eventText(event));
  }
}

function isAskedFor(event: EventReply, { volume }: EventsOptions): boolean {
  return volume === undefined || event.volume === volume;
}

/** Returns an event as a line: `2026-01-02T03:04:05.678Z  warning  db  what happened`. `-`: no volume. */
function eventText({ time, severity, volume, message }: EventReply): string {
  return `${time}  ${severity.padEnd(7)}  ${volume || '-'}  ${message}\n`;
}
