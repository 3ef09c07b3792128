import { Router } from 'express';
import { z } from 'zod';
import type { Doctor } from '../../lib/volumes/doctor/doctor.ts';
import { clientGone } from '../http/client-gone.ts';
import { bodyText, parseJson } from '../http/json-body.ts';
import type { DoctorReply } from './api.ts';

const fixBody = z.strictObject({ delete: z.array(z.string()).default([]) });

/** Routes for leftovers of interrupted work: GET finds them, POST also repairs them. */
export function doctorRoutes(doctor: Doctor): Router {
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
  return router;
}
