import { Router } from 'express';
import { z } from 'zod';
import type { Doctor } from '../../lib/volumes/doctor/doctor.ts';
import { clientGone } from '../http/client-gone.ts';
import { bodyText, parseJson } from '../http/json-body.ts';
import type { AcceptedReply, DoctorReply } from './api/doctor.ts';

const fixBody = z.strictObject({ delete: z.array(z.string()).default([]) });

/** Goes on with a store that was refused; see `TicketStore.accept`. */
export type AcceptStore = () => Promise<boolean>;

/** Routes for leftovers of interrupted work: GET finds them, POST also repairs them. */
export function doctorRoutes(doctor: Doctor, acceptStore: AcceptStore): Router {
  const router = Router();
  router.get('/doctor', async (_request, response) => {
    const signal = clientGone(response);
    const findings = await doctor.examine({ fix: false, deletions: new Set(), signal });
    response.json({ findings } satisfies DoctorReply);
  });
  router.post('/doctor', async (request, response) => {
    const body = parseJson(bodyText(request.body) || '{}', fixBody);
    const signal = clientGone(response);
    const findings = await doctor.examine({ fix: true, deletions: new Set(body.delete), signal });
    response.json({ findings } satisfies DoctorReply);
  });
  router.post('/doctor/restore-records', async (_request, response) => {
    response.json({ findings: await doctor.restoreRecords() } satisfies DoctorReply);
  });
  router.post('/doctor/forget-records', async (_request, response) => {
    response.json({ findings: await doctor.forgetRecords() } satisfies DoctorReply);
  });
  router.post('/doctor/accept-store', async (_request, response) => {
    response.json({ accepted: await acceptStore() } satisfies AcceptedReply);
  });
  return router;
}
