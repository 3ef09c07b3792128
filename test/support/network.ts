import type { Machine } from './machine.ts';
import { makeNamespaces } from './namespaces.ts';

/**
 * A switch in its own network namespace. Servers can run on the switch, too: hosts reach them at
 * its address.
 */
export interface Network extends Machine, AsyncDisposable {
  /**
   * Connects the network namespace of a process to the switch by a cable, and gives that end an
   * address.
   */
  attach(pid: number): Promise<Cable>;
  /**
   * Makes the switch's end of a cable to a machine with its own kernel, which configures the
   * cable's address itself.
   */
  attachMachine(): Promise<MachineCable>;
  stop(): Promise<void>;
}

export interface Cable {
  readonly address: string;
  /** Loses packets in both directions until `reconnect`. */
  disconnect(): Promise<void>;
  reconnect(): Promise<void>;
}

export interface MachineCable extends Cable {
  /** The TAP device on which a process on the switch sends and receives the cable's packets. */
  readonly device: string;
}

interface Port {
  readonly port: string;
  readonly end: string;
}

export async function startNetwork(): Promise<Network> {
  const prefix = '10.55.0';
  const address = `${prefix}.254`;
  const namespaces = await makeNamespaces(
    `ip link add switch type bridge
     ip addr add ${address}/24 dev switch
     ip link set switch up`,
  );
  const { execOk } = namespaces;
  let hosts = 0;

  const nextPort = (): Port => {
    hosts += 1;
    return { port: `port${hosts}`, end: `${prefix}.${hosts}` };
  };
  const cableAt = ({ port, end }: Port): Cable => ({
    address: end,
    disconnect: async () => {
      await execOk('ip', 'link', 'set', port, 'down');
    },
    reconnect: async () => {
      await execOk('ip', 'link', 'set', port, 'up');
    },
  });

  async function attach(pid: number): Promise<Cable> {
    const { port, end } = nextPort();
    const pair = ['type', 'veth', 'peer', 'name', 'eth0', 'netns', String(pid)];
    await execOk('ip', 'link', 'add', port, ...pair);
    await execOk('ip', 'link', 'set', port, 'master', 'switch', 'up');
    const inside = `ip addr add ${end}/24 dev eth0 && ip link set eth0 up && ip route add default via ${address}`;
    await execOk('nsenter', '--target', String(pid), '--net', 'sh', '-c', inside);
    return cableAt({ port, end });
  }

  async function attachMachine(): Promise<MachineCable> {
    const { port, end } = nextPort();
    await execOk('ip', 'tuntap', 'add', 'dev', port, 'mode', 'tap');
    await execOk('ip', 'link', 'set', port, 'master', 'switch', 'up');
    // The kernel of the machine gives a device up for good that can't send: this one only loses packets.
    return {
      address: end,
      device: port,
      disconnect: async () => void (await execOk('ip', 'link', 'set', port, 'nomaster')),
      reconnect: async () => void (await execOk('ip', 'link', 'set', port, 'master', 'switch')),
    };
  }

  return {
    address,
    attach,
    attachMachine,
    spawn: namespaces.spawn,
    exec: namespaces.exec,
    stop: namespaces.stop,
    [Symbol.asyncDispose]: namespaces.stop,
  };
}
