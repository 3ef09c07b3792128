import { hasCode } from '../error-code.ts';
import { copyRange, nextData, read, seek, setSize, shareBlocks, write } from './calls.ts';
import type { FileStat } from './file-stat.ts';

/** Up to here a read and a write are faster than a copy in the kernel. */
const smallBytes = 2 ** 16;
const pieceBytes = 2 ** 20;

/**
 * Copies the contents of files: by shared blocks where the file system has them, else in the kernel, else
 * by reading. Holes stay holes. A file that grows is copied up to the size that it had.
 */
export class Contents {
  readonly #buffer = Buffer.allocUnsafe(pieceBytes);
  #canShare = true;
  #canCopyInKernel = true;

  /** `copied` receives the bytes of each piece. */
  copy(
    from: number,
    to: number,
    { size, storedBytes }: FileStat,
    copied: (n: number) => void,
  ): void {
    if (size === 0 || this.#shared(from, to)) return;
    const total = Number(size);
    if (storedBytes >= total) {
      this.#copyPart(from, to, total, copied);
      return;
    }
    setSize(to, size);
    for (
      let data = nextData(from, 0);
      data && data.start < total;
      data = nextData(from, data.end)
    ) {
      seek(from, data.start);
      seek(to, data.start);
      this.#copyPart(from, to, Math.min(data.end, total) - data.start, copied);
      if (data.end >= total) break;
    }
  }

  #shared(from: number, to: number): boolean {
    if (!this.#canShare) return false;
    try {
      shareBlocks(from, to);
      return true;
    } catch (error) {
      if (hasCode(error, 'ENOSPC', 'EDQUOT', 'EIO')) throw error;
      // Other reasons are this file's own, such as blocks that are never shared (chattr +C on btrfs).
      if (!hasCode(error, 'EINVAL', 'EPERM', 'ETXTBSY')) this.#canShare = false;
      return false;
    }
  }

  #copyPart(from: number, to: number, size: number, copied: (n: number) => void): void {
    for (let left = size; left > 0; ) {
      const count = this.#copyPiece(from, to, Math.min(left, pieceBytes), size);
      if (count === 0) return; // It has shrunk.
      left -= count;
      copied(count);
    }
  }

  #copyPiece(from: number, to: number, size: number, whole: number): number {
    if (this.#canCopyInKernel && whole > smallBytes) {
      try {
        const count = copyRange(from, to, size);
        // Some file systems copy nothing instead of refusing.
        if (count > 0) return count;
      } catch (error) {
        if (!hasCode(error, 'EXDEV', 'ENOSYS', 'EINVAL', 'EOPNOTSUPP', 'ENOTSUP')) throw error;
        this.#canCopyInKernel = false;
      }
    }
    const count = read(from, this.#buffer, size);
    write(to, this.#buffer.subarray(0, count));
    return count;
  }
}
