import { join } from 'node:path';
import { runOk } from './processes.ts';

/** Paths of PEM files. The certificate is valid for servers and clients. */
export interface Certificates {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** Makes a certificate authority and one certificate, signed by it and valid for the addresses. */
export async function makeCertificates(
  directory: string,
  addresses: readonly string[],
): Promise<Certificates> {
  const at = (name: string) => join(directory, name);
  const ca = at('ca.pem');
  const caKey = at('ca-key.pem');
  const cert = at('cert.pem');
  const key = at('key.pem');
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc'];
  const request = ['req', '-x509', '-days', '2', ...curve];
  await runOk('openssl', [...request, '-subj', '/CN=test authority', '-keyout', caKey, '-out', ca]);
  const names = [...new Set(addresses)].map((address) => `IP:${address}`).join(',');
  const extensions = [
    `subjectAltName=${names},DNS:localhost`,
    'basicConstraints=critical,CA:FALSE',
    'extendedKeyUsage=serverAuth,clientAuth',
  ].flatMap((extension) => ['-addext', extension]);
  const signed = ['-CA', ca, '-CAkey', caKey, '-subj', '/CN=test', ...extensions];
  await runOk('openssl', [...request, ...signed, '-keyout', key, '-out', cert]);
  return { ca, cert, key };
}
