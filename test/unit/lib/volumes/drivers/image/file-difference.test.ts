// Which parts of two files are compared.
import { expect, test } from '@jest/globals';
import {
  parseExtents,
  unshared,
} from '../../../../../../lib/volumes/drivers/image/file-difference.ts';

const filefrag = `Filesystem type is: 58465342
File size of v.img is 33554432 (33554432 blocks of 1 bytes)
 ext:     logical_offset:        physical_offset: length:   expected: flags:
   0:        0..    4095:     585728..    589823:   4096:
   1:     4096..  262143:     167936..    425983: 258048:     589824: shared
   2: 16777216..16781311:          0..      4095:   4096:     454656: unknown,delalloc
   3: 33488896..33554431:      98304..    163839:  65536:   26943488: last,unwritten,eof
v.img: 4 extents found
`;

test('reads the extents that filefrag shows', () => {
  expect(parseExtents(filefrag)).toEqual([
    { start: 0, end: 4096, at: 585728 },
    { start: 4096, end: 262144, at: 167936 },
    { start: 16777216, end: 16781312, at: undefined },
    { start: 33488896, end: 33554432, at: 98304 },
  ]);
});

test('compares only what two files do not have at the same place of the disk', () => {
  const one = [
    { start: 0, end: 100, at: 1000 },
    { start: 200, end: 300, at: 5000 },
  ];
  expect(unshared(one, one)).toEqual([]);
  // The same blocks, told as two extents; then other blocks, a hole, and more at the end.
  const other = [
    { start: 0, end: 50, at: 1000 },
    { start: 50, end: 100, at: 1050 },
    { start: 100, end: 120, at: 7000 },
    { start: 250, end: 320, at: 5050 },
  ];
  expect(unshared(one, other)).toEqual([
    { start: 100, end: 120 },
    { start: 200, end: 250 },
    { start: 300, end: 320 },
  ]);
});

test('compares what has no place on the disk yet', () => {
  const pending = [{ start: 0, end: 100, at: undefined }];
  expect(unshared(pending, pending)).toEqual([{ start: 0, end: 100 }]);
});
