// Jest's reporter that writes `failed-tests.log`: a line for each failed test, with its file, its
// name and the first line of its error. A run that passes leaves it empty. `.ci/run` prints it last,
// because the output of the run itself is long, and runs the files that it names again.
import { writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';

export default class FailedTests {
  constructor({ rootDir }) {
    this.rootDir = rootDir;
  }

  onRunComplete(_contexts, { testResults }) {
    const lines = testResults.flatMap(({ testFilePath, testExecError, testResults: tests }) => {
      const file = relative(this.rootDir, testFilePath);
      const failed = tests
        .filter(({ status }) => status === 'failed')
        .map(
          ({ fullName, failureMessages }) => `${file} ${fullName}: ${firstLine(failureMessages)}`,
        );
      if (failed.length === 0 && testExecError) failed.push(`${file} ${testExecError.message}`);
      return failed;
    });
    writeFileSync(
      join(this.rootDir, 'failed-tests.log'),
      lines.map((line) => `${line}\n`).join(''),
    );
  }
}

/** Returns the first line of the first error that says something. */
function firstLine(messages) {
  const lines = messages.join('\n').split('\n');
  return (lines.find((line) => line.trim() !== '') ?? 'no message').trim().slice(0, 300);
}
