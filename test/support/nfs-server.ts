import { join } from 'node:path';
import type { UmlHost } from './uml-host.ts';

/** The kernel's NFS server on a guest. It ends with the guest. */
export interface NfsServer {
  /** Mounts what it serves at `path` of a client. */
  mountOn(client: UmlHost, path: string): Promise<void>;
}

/**
 * Serves a new xfs with reflinks, mounted at `path` of a guest, to the clients by NFS 4.2. The kernels do all of
 * it: instead of exportfs and mountd, which the machine may lack, this writes the exports into the kernel's caches.
 */
export async function startNfsServer(
  guest: UmlHost,
  path: string,
  clients: readonly UmlHost[],
): Promise<NfsServer> {
  await guest.loadModules('xfs', 'nfsd');
  await guest.execOk('sh', '-e', '-c', serving, 'sh', join(guest.directory, 'pool.img'), path);
  await guest.execOk('sh', '-e', '-c', exporting, 'sh', path, ...clients.map((c) => c.address));
  return {
    mountOn: async (client, at) => {
      await client.loadModules('nfs', 'nfsv4');
      const addresses = `addr=${guest.address},clientaddr=${client.address}`;
      // Guests are slow: without this they would have forgotten the names of a directory when it matters.
      const options = `vers=4.2,${addresses},acdirmin=600,acdirmax=600`;
      await client.execOk('mkdir', '-p', at);
      // Without mount.nfs, which the machine may lack; it would look up the addresses.
      await client.execOk('mount', '-i', '-t', 'nfs4', '-o', options, `${guest.address}:/`, at);
      await client.execOk('ls', at); // Waits for the end of the server's grace period.
    },
  };
}

const serving = `
mkdir -p $2
truncate -s 1500M $1
mkfs.xfs -q -m reflink=1 $1
mount -o loop $1 $2
mount -t nfsd nfsd /proc/fs/nfsd
echo '-3 +4 -4.0 -4.1 +4.2' > /proc/fs/nfsd/versions
# 90 seconds otherwise, in which nobody can open a file. The lease stays at 90 seconds: a client that is frozen
# for less keeps what it has opened.
echo 10 > /proc/fs/nfsd/nfsv4gracetime
# No delegations: the server does not wait for the frozen host, which is not told anything.
echo 0 > /proc/sys/fs/leases-enable`;

/** The flags of an export (NFSEXP_…): INSECURE_PORT, NOSUBTREECHECK and FSID; writable, and root stays root. */
const flags = 0x2402;

const exporting = `
path=$1
shift
end=$(($(date +%s) + 86400))
for address; do echo "nfsd $address $end hosts" > /proc/net/rpc/auth.unix.ip/channel; done
echo "hosts $path $end ${flags} 65534 65534 0" > /proc/net/rpc/nfsd.export/channel
printf 'hosts 1 \\\\x00000000 %s %s\\n' $end $path > /proc/net/rpc/nfsd.fh/channel
echo tcp 2049 > /proc/fs/nfsd/portlist
echo 4 > /proc/fs/nfsd/threads`;
