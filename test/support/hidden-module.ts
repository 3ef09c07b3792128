// Takes the place of a module that a test hides (no-mount-calls.ts).
throw new Error('a test hides this module');
