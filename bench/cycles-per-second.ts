/** Returns how many times per second all workers together run `work`, within about `roundMs`. */
export async function cyclesPerSecond(
  workers: number,
  roundMs: number,
  work: (worker: number) => Promise<void>,
): Promise<number> {
  const startedAt = performance.now();
  let count = 0;
  await Promise.all(
    Array.from({ length: workers }, async (_, worker) => {
      while (performance.now() - startedAt < roundMs) {
        await work(worker);
        count += 1;
      }
    }),
  );
  return (count / (performance.now() - startedAt)) * 1_000;
}
