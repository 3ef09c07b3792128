import { Connection } from './connection.ts';
import { SimulatedServer } from './simulated-server.ts';
import type { MakeWorld } from './simulated-world.ts';

/** The memory store on a server that can be put back. */
export const memoryWorld: MakeWorld = (parts) => {
  const server = new SimulatedServer(parts);
  return {
    sleepersPerHost: 0,
    get sleeping() {
      return server.sleeping;
    },
    connect: (connection) => new Connection({ ...connection, server }),
    direct: () => server.store.for('an operator'),
    numberOf: (ticket) => server.store.numberOf(ticket),
    putBack: (command, known) => server.putBack(command, known),
    [Symbol.dispose]: () => server[Symbol.dispose](),
  };
};
