/*
 * The ticket queue of lib/lock: requests for several locks in two modes, or for permits of one lock, leases
 * that may end at any time, guarded writes. README.md beside this file says what is checked, and how.
 *
 * Each client makes one request: a second request would be no different from another client's. So
 * no step that changes the state happens twice, and every run ends. SPIN reports a run that ends
 * with a waiting client (a deadlock, a lost wake-up) as an "invalid end state".
 */
#ifndef CLIENTS
#define CLIENTS 3 /* at most 4 */
#define REQUESTS 8 /* the kinds of request: 8 with two locks, 2 with one, 3 with PERMITS */
#endif
#ifndef FIRST
#define FIRST 1 /* the first of the kinds of request that clients make */
#endif
/* PERMITS: the number of permits of the only lock, whose requests are shared, exclusive or for a permit. */
#define any(is, c) (is(0, c, 0) || is(0, c, 1) || is(1, c, 0) || is(1, c, 1) || \
  is(2, c, 0) || is(2, c, 1) || is(3, c, 0) || is(3, c, 1))

#define SHARED 1 /* 0: no request for this lock */
#define EXCLUSIVE 2
#ifdef PERMITS
#define PERMIT 3
#define isPermit(c) (ticket[c].mode[0] == PERMIT)
#define conflict(c, d, l) (ticket[c].mode[l] + ticket[d].mode[l] > EXCLUSIVE && \
  !(isPermit(c) && isPermit(d)))
#else
#define conflict(c, d, l) (ticket[c].mode[l] + ticket[d].mode[l] > EXCLUSIVE)
#endif

typedef Ticket {
  byte mode[2];
  byte token[2]; /* the number in the store's total order: one for all its locks */
  bit stands[2]; /* its key for this lock exists in the store */
  bit granted    /* its client has learned of the grant, and never learns of its end */
};
/* A closed gate (of the first lock) is a ticket before all others; granted tickets keep the lock. */
#define GATE 4
#define NOBODY 5
Ticket ticket[5];
byte lastToken;

#define standsOn(c, l) (ticket[c].mode[l] == 0 || ticket[c].stands[l])
#define stands(c) (standsOn(c, 0) && standsOn(c, 1))
#define gone(c) (!ticket[c].stands[0] && !ticket[c].stands[1])

/* The properties. */
hidden byte allOrNothing, exclusion, grantOrder, writeOrder, closedGate, permitCount, idlePermit;
#define check(property, condition) property = condition; assert(property)
#define isPartial(c) (!stands(c) && !gone(c))
#define clash(d, c, l) (d != c && conflict(d, c, l) && \
  ticket[d].granted && ticket[d].stands[l] && ticket[c].granted && ticket[c].stands[l])
#define overtook(d, c, l) (conflict(d, c, l) && \
  ticket[d].granted && ticket[d].token[l] > ticket[c].token[l])

/* The parts that the broken variants leave out. */
#ifdef NO_GUARD
#define guarded(c) true
#else
#define guarded(c) stands(c)
#endif
#ifdef OWN_TICKET_UNCHECKED
#define grantable(c) true
#else
#define grantable(c) stands(c)
#endif
#ifdef SHARED_OVERTAKES
#define letsPass(d, c, l) (d != GATE && ticket[c].mode[l] == SHARED && !ticket[d].granted)
#else
#define letsPass(d, c, l) false
#endif

#ifdef PERMITS
#define lowerPermit(d, c) (d != c && isPermit(d) && ticket[d].stands[0] && \
  ticket[d].token[0] < ticket[c].token[0])
#define between(e, d, c) (lowerPermit(e, c) && ticket[e].token[0] > ticket[d].token[0])
#define lowerPermits(c) \
  (lowerPermit(0, c) + lowerPermit(1, c) + lowerPermit(2, c) + lowerPermit(3, c))
#define nearer(d, c) (between(0, d, c) + between(1, d, c) + between(2, d, c) + between(3, d, c))
#define hasPermit(d) (isPermit(d) && ticket[d].granted && ticket[d].stands[0])
#define held (hasPermit(0) + hasPermit(1) + hasPermit(2) + hasPermit(3))
#ifdef ONE_TOO_MANY
#define isFull(c) (isPermit(c) && lowerPermits(c) > PERMITS)
#else
#define isFull(c) (isPermit(c) && lowerPermits(c) >= PERMITS)
#endif
/* A waiter watches as many permits as there are, the nearest: while these stand, none is free. */
#ifdef NEAREST_PERMIT_ONLY
#define isWatched(d, c) (isFull(c) && lowerPermit(d, c) && nearer(d, c) < 1)
#else
#define isWatched(d, c) (isFull(c) && lowerPermit(d, c) && nearer(d, c) < PERMITS)
#endif
#define isBlocked(d, c) (d != c && inTheWay(d, c, 0))
#define mayHavePermit(c) (isPermit(c) && stands(c) && lowerPermits(c) < PERMITS && \
  !isBlocked(0, c) && !isBlocked(1, c) && !isBlocked(2, c) && !isBlocked(3, c) && \
  !ticket[GATE].stands[0])
#endif

/* The store's steps, each atomic. A removal models an unlock, the end of a lease, or a break. */
inline queue(c, l) {
  ticket[c].token[l] = lastToken; ticket[c].stands[l] = ticket[c].mode[l] != 0
}
inline remove(c) { ticket[c].stands[0] = 0; ticket[c].stands[1] = 0 }
inline grant(c) {
  check(grantOrder, !any(overtook, c));
  check(closedGate, !(ticket[GATE].stands[0] && conflict(GATE, c, 0)));
  ticket[c].granted = 1
}

#define inTheWay(d, c, l) (ticket[d].stands[l] && ticket[d].token[l] < ticket[c].token[l] && \
  conflict(d, c, l) && !letsPass(d, c, l))
#define isNearest(d, l) (nearest[l] == NOBODY || ticket[d].token[l] > ticket[nearest[l]].token[l])
#define look(d, c, l) if :: inTheWay(d, c, l) && isNearest(d, l) -> nearest[l] = d :: else fi
inline place(c) {
  nearest[0] = NOBODY; nearest[1] = NOBODY;
  look(0, c, 0); look(1, c, 0); look(2, c, 0); look(3, c, 0); look(GATE, c, 0);
  look(0, c, 1); look(1, c, 1); look(2, c, 1); look(3, c, 1);
#ifdef PERMITS
  watched[0] = isWatched(0, c); watched[1] = isWatched(1, c);
  watched[2] = isWatched(2, c); watched[3] = isWatched(3, c);
  if
  :: isFull(c) -> skip
  :: else ->
#endif
  if
  :: grantable(c) && nearest[0] == NOBODY && nearest[1] == NOBODY -> grant(c)
  :: else
  fi
#ifdef PERMITS
  fi
#endif
}

#define waits(c) (!ticket[c].granted && !gone(c))
#define wakes(l) (nearest[l] != NOBODY && !ticket[nearest[l]].stands[l])
#ifdef PERMITS
#define permitWakes(d) (watched[d] && !ticket[d].stands[0])
#define wakesOne (wakes(0) || permitWakes(0) || permitWakes(1) || permitWakes(2) || permitWakes(3))
#else
#define wakesOne (wakes(0) || wakes(1))
#endif

/* A client may be paused, for any time, between any two of its steps. */
proctype Client(byte c) {
  byte nearest[2]; /* the blockers in the store's last answer; a waiting client watches only them */
#ifdef PERMITS
  bit watched[4]; /* the permits in that answer */
#endif
#ifdef ONE_BY_ONE
  d_step { lastToken++; queue(c, 0) };
  d_step { lastToken++; queue(c, 1); place(c) };
#else
  d_step { lastToken++; queue(c, 0); queue(c, 1); place(c) };
#endif
  do
#ifdef WOKEN_IS_GRANTED
  :: d_step { waits(c) && wakesOne -> grant(c) }
#else
  :: d_step { !ticket[c].granted && wakesOne -> place(c) }
#endif
  :: d_step { ticket[c].granted && guarded(c) -> check(writeOrder, !any(overtook, c)) }
  :: d_step { ticket[c].granted && guarded(c) -> check(writeOrder, !any(overtook, c)); remove(c) }
  :: d_step { ticket[c].granted && !gone(c) -> remove(c) }
#ifdef PERMITS
  :: d_step { !ticket[c].granted && mayHavePermit(c) && !wakesOne -> check(idlePermit, false) }
#endif
  :: gone(c) -> break
  od
}

/* Leases end, clients give up, operators break tickets, a gate closes: at any time, or never. */
active proctype World() {
  bit calm, gateUsed;
end:
  do
  :: d_step { !calm && !gone(0) -> remove(0) }
  :: d_step { !calm && !gone(1) -> remove(1) }
  :: d_step { !calm && !gone(2) -> remove(2) }
  :: d_step { !calm && !gone(3) -> remove(3) }
  :: d_step { !calm && !gateUsed -> gateUsed = 1; ticket[GATE].stands[0] = 1 }
  :: d_step { ticket[GATE].stands[0] -> ticket[GATE].stands[0] = 0 }
  :: !calm -> calm = 1
  od
}

active proctype Invariants() {
end:
  do
  :: d_step { any(clash, 0) || any(clash, 1) || any(clash, 2) || any(clash, 3) ->
       check(exclusion, false) }
  :: d_step { isPartial(0) || isPartial(1) || isPartial(2) || isPartial(3) ->
       check(allOrNothing, false) }
#ifdef PERMITS
  :: d_step { held > PERMITS -> check(permitCount, false) }
#endif
  od
}

/* All sets of requests. Clients differ only in their requests, so their order does not matter. */
init {
  byte c, request = FIRST;
  atomic {
    ticket[GATE].mode[0] = EXCLUSIVE;
    for (c : 0 .. CLIENTS - 1) {
      select (request : request .. REQUESTS);
#ifdef PERMITS
      ticket[c].mode[0] = request;
#else
      ticket[c].mode[0] = request % 3;
      ticket[c].mode[1] = request / 3;
#endif
      run Client(c)
    }
  }
}
