import { isIP } from 'node:net';
import { join } from 'node:path';
import { runOk } from './processes.ts';

/** Paths of PEM files. The certificate is valid for servers and clients. */
export interface Certificates {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  /** The key of the authority, which signs further certificates. */
  readonly caKey: string;
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
  const request = ['req', '-x509', '-days', '2', ...curve];
  await runOk('openssl', [...request, '-subj', '/CN=test authority', '-keyout', caKey, '-out', ca]);
  await signCertificate({ ca, caKey, cert, key }, [...addresses, 'localhost']);
  return { ca, cert, key, caKey };
}

/** Makes a certificate for names and IP addresses, signed by the authority, and its key. */
export async function signCertificate(
  { ca, caKey, cert, key }: Certificates,
  names: readonly string[],
): Promise<void> {
  const all = [...new Set(names)].map((name) => `${isIP(name) ? 'IP' : 'DNS'}:${name}`).join(',');
  const extensions = [
    `subjectAltName=${all}`,
    'basicConstraints=critical,CA:FALSE',
    'extendedKeyUsage=serverAuth,clientAuth',
  ].flatMap((extension) => ['-addext', extension]);
  const request = ['req', '-x509', '-days', '2', ...curve];
  const signed = ['-CA', ca, '-CAkey', caKey, '-subj', '/CN=test', ...extensions];
  await runOk('openssl', [...request, ...signed, '-keyout', key, '-out', cert]);
}

const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc'];
