/*
 * An OpenTelemetry `Tracer` and its `Span`, as far as the locks use them, so that a program without
 * OpenTelemetry needs none of its types.
 */

export type SpanAttributes = Readonly<Record<string, string | number | boolean | string[]>>;

export interface LockSpan {
  setAttribute(name: string, value: string | number | boolean): unknown;
  setAttributes(attributes: SpanAttributes): unknown;
  setStatus(status: { readonly code: number; readonly message?: string }): unknown;
  end(): void;
}

export interface LockTracer {
  startSpan(name: string, options: { readonly attributes: SpanAttributes }): LockSpan;
}
