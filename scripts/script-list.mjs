/** The npm scripts for people, from fast to slow, each with its purpose. */
export const scripts = [
  ['npm run help', 'prints this list'],
  [
    'npm run tidy',
    'checks words, comments, pages, and names of files; -- --report counts by folder (1 s)',
  ],
  ['npm run rooms', 'draws which folder imports which; fails on a circle (1 s)'],
  ['npm run format', 'formats all files and applies the safe fixes of the linter'],
  ['npm run check', 'checks types, lint, format, import rules and tidiness (5 s)'],
  ['npm run fast', 'runs the check, unit tests, memory contracts and 5 s of simulation (15 s)'],
  ['npm run watch', 'waits for changes and runs the fast tests that each change touches'],
  ['npm start', 'runs the daemon from this directory'],
  ['npm run build', 'compiles to dist/'],
  ['npm run build:lock', 'builds the package @berth/lock in lib/lock, for npm to pack'],
  ['npm run demo', 'shows a fail-over between two hosts on this machine (1 min, root)'],
  [
    'npm run test:e2e -- NAME',
    'runs the tests in test/e2e with NAME in their path; lists them without a NAME',
  ],
  ['npm run bench', 'measures speed against a floor in the same run (minutes)'],
  ['npm test', 'runs every test; npm test -- PATH runs some (root for all of them)'],
  [
    'npm run mutations',
    'breaks each promise of locks and fencing in a copy, names the test that notices (minutes)',
  ],
  [
    'npm run test:kubernetes',
    'builds an API server of Kubernetes, once (ten minutes), and tests the lock store on it',
  ],
  ['npm run test:soak -- SECONDS', 'runs simulations and fault tests for as long as given'],
];
