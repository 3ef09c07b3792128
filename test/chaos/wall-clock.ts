/**
 * A wall clock of this process that can be set wrong: the time of day only (CLOCK_REALTIME), as a
 * bad time server would do. Loaded with `--import`, before anything reads the time.
 */
const RealDate = Date;
let offsetMs = Number(process.env.BERTH_CLOCK_OFFSET_MS ?? 0);

export function setWallClock(newOffsetMs: number): void {
  offsetMs = newOffsetMs;
}

const now = () => RealDate.now() + offsetMs;

globalThis.Date = new Proxy(RealDate, {
  construct: (target, args, newTarget) =>
    Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget),
  get: (target, key, receiver) => (key === 'now' ? now : Reflect.get(target, key, receiver)),
});
