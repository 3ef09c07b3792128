/*
 * The ticket queue of lib/lock: requests for several locks in two modes, leases that may end at
 * any time, guarded writes. README.md beside this file says what is checked, and how.
 *
 * Each client makes one request: a second request would be no different from another client's. So
 * no step that changes the state happens twice, and every run ends. SPIN reports a run that ends
 * with a waiting client (a deadlock, a lost wake-up) as an "invalid end state".
 */
#ifndef CLIENTS
#define CLIENTS 3 /* at most 4 */
#define REQUESTS 8 /* the kinds of request: 8 with two locks, 2 with one */
#endif
#define any(is, c) (is(0, c, 0) || is(0, c, 1) || is(1, c, 0) || is(1, c, 1) || \
  is(2, c, 0) || is(2, c, 1) || is(3, c, 0) || is(3, c, 1))

#define SHARED 1 /* 0: no request for this lock */
#define EXCLUSIVE 2
#define conflict(c, d, l) (ticket[c].mode[l] + ticket[d].mode[l] > EXCLUSIVE)

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
hidden byte allOrNothing, exclusion, grantOrder, writeOrder, closedGate;
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
  if
  :: grantable(c) && nearest[0] == NOBODY && nearest[1] == NOBODY -> grant(c)
  :: else
  fi
}

#define waits(c) (!ticket[c].granted && !gone(c))
#define wakes(l) (nearest[l] != NOBODY && !ticket[nearest[l]].stands[l])

/* A client may be paused, for any time, between any two of its steps. */
proctype Client(byte c) {
  byte nearest[2]; /* the blockers in the store's last answer; a waiting client watches only them */
#ifdef ONE_BY_ONE
  d_step { lastToken++; queue(c, 0) };
  d_step { lastToken++; queue(c, 1); place(c) };
#else
  d_step { lastToken++; queue(c, 0); queue(c, 1); place(c) };
#endif
  do
#ifdef WOKEN_IS_GRANTED
  :: d_step { waits(c) && (wakes(0) || wakes(1)) -> grant(c) }
#else
  :: d_step { !ticket[c].granted && (wakes(0) || wakes(1)) -> place(c) }
#endif
  :: d_step { ticket[c].granted && guarded(c) -> check(writeOrder, !any(overtook, c)) }
  :: d_step { ticket[c].granted && guarded(c) -> check(writeOrder, !any(overtook, c)); remove(c) }
  :: d_step { ticket[c].granted && !gone(c) -> remove(c) }
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
  od
}

/* All sets of requests. Clients differ only in their requests, so their order does not matter. */
init {
  byte c, request = 1;
  atomic {
    ticket[GATE].mode[0] = EXCLUSIVE;
    for (c : 0 .. CLIENTS - 1) {
      select (request : request .. REQUESTS);
      ticket[c].mode[0] = request % 3;
      ticket[c].mode[1] = request / 3;
      run Client(c)
    }
  }
}
