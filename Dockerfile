# The image runs the daemon. Its file system is also that of the managed plugin (deploy/build-plugin.mjs).
ARG NODE_IMAGE=node:24-bookworm-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /opt/berth
COPY package.json package-lock.json ./
COPY lib/lock/package.json lib/lock/
# Without install scripts: the only important one fetches a Node, and the image has one.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY . .
# Optional packages stay: one of them is koffi's library for this processor.
RUN npm run build && npm prune --omit=dev --ignore-scripts --no-audit --no-fund

FROM ${NODE_IMAGE}
# The programs that the drivers run. The Python that xfsprogs brings is for a service that berth does
# not use. Without /etc/machine-id the daemon makes an ID for each host.
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
      e2fsprogs mount util-linux xfsprogs >/dev/null \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /usr/lib/python3* /usr/bin/python3* /etc/machine-id \
 && ln -s /opt/berth/bin/berth /usr/local/bin/berth
WORKDIR /opt/berth
COPY --from=build /opt/berth/package.json ./
COPY --from=build /opt/berth/node_modules node_modules
COPY --from=build /opt/berth/bin bin
COPY --from=build /opt/berth/dist dist
HEALTHCHECK --interval=1m --timeout=10s --start-period=10s CMD ["berth", "status"]
ENTRYPOINT ["node", "--optimize-for-size", "dist/plugin/main.js"]
