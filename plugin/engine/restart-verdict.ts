import type { EndedContainer } from './ended-containers.ts';

/** A container as the engine shows it. */
export interface InspectedContainer {
  readonly name: string;
  /** RFC 3339; the zero time if it never ran. */
  readonly startedAt: string;
  /** True while a process of it may run: it runs, is paused, or is being restarted. */
  readonly isLive: boolean;
  /** `no`, `always`, `unless-stopped` or `on-failure`. */
  readonly restartPolicy: string;
  readonly labels: Readonly<Record<string, string>>;
  /** The volumes of this plugin that it uses. */
  readonly volumes: readonly string[];
}

/**
 * The decision about a container that the sentinel ended. `wait`: the engine has not seen its end yet.
 * `forget` has the reason, for people.
 */
export type Verdict =
  | { readonly do: 'start' | 'wait' }
  | { readonly do: 'forget'; readonly why: string };

const startingPolicies = ['always', 'unless-stopped', 'on-failure'];

/** Labels that only the containers of a scheduler have; it starts its own replacement. */
const schedulers: Readonly<Record<string, string>> = {
  'com.docker.swarm.task.id': 'Swarm',
  'com.docker.swarm.service.id': 'Swarm',
  'io.kubernetes.pod.name': 'Kubernetes',
  'com.hashicorp.nomad.alloc_id': 'Nomad',
  'com.amazonaws.ecs.task-arn': 'Amazon ECS',
};

/** Decides by the engine's present answer; undefined: the engine knows no such container. */
export function verdictOn(
  { endedAt, seen }: EndedContainer,
  container: InspectedContainer | undefined,
): Verdict {
  if (!container) return { do: 'forget', why: 'it was removed' };
  const { labels, restartPolicy, startedAt, isLive } = container;
  const scheduler = Object.keys(schedulers).find((label) => label in labels);
  if (scheduler) return { do: 'forget', why: `${schedulers[scheduler]} decides where it runs` };
  if (!startingPolicies.includes(restartPolicy)) {
    return { do: 'forget', why: `its restart policy is ${restartPolicy}` };
  }
  const isAnotherRun = seen
    ? startedAt !== seen.startedAt
    : Date.parse(startedAt) > Date.parse(endedAt);
  if (isAnotherRun) return { do: 'forget', why: 'the engine or a person has started it since' };
  return { do: isLive ? 'wait' : 'start' };
}
