// Calls to the query API of IAM and STS, signed with Signature Version 4: enough to see
// that a key works, without a dependency. Your program has the AWS SDK, which accepts
// the same credentials.

import { createHash, createHmac } from "node:crypto";

const sha256 = (text) => createHash("sha256").update(text).digest("hex");
const hmac = (key, text) => createHmac("sha256", key).update(text).digest();

/**
 * Calls an action and returns AWS's answer in XML. An error has AWS's code.
 *
 * @param {{service: "iam" | "sts", action: string, endpoint?: string, region?: string,
 *   credentials: {accessKeyId: string, secretAccessKey: string, sessionToken?: string}}} call
 */
export async function callAWS({ service, action, endpoint, region = "us-east-1", credentials }) {
  if (service === "iam") region = "us-east-1"; // IAM is global
  const home = service === "iam" ? "https://iam.amazonaws.com" : `https://sts.${region}.amazonaws.com`;
  const url = new URL(endpoint ?? home);
  const body = `Action=${action}&Version=${service === "iam" ? "2010-05-08" : "2011-06-15"}`;
  const time = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
  const signed = { "content-type": "application/x-www-form-urlencoded", host: url.host, "x-amz-date": time };
  if (credentials.sessionToken) signed["x-amz-security-token"] = credentials.sessionToken;

  const names = Object.keys(signed).join(";"); // in alphabetical order, as required
  const lines = Object.entries(signed).map(([name, value]) => `${name}:${value}\n`).join("");
  const request = ["POST", "/", "", lines, names, sha256(body)].join("\n");
  const scope = [time.slice(0, 8), region, service, "aws4_request"];
  const key = scope.reduce(hmac, `AWS4${credentials.secretAccessKey}`);
  const signature = hmac(key, ["AWS4-HMAC-SHA256", time, scope.join("/"), sha256(request)].join("\n")).toString("hex");

  const { host: _, ...sent } = signed; // fetch sets it
  sent.authorization = `AWS4-HMAC-SHA256 Credential=${credentials.accessKeyId}/${scope.join("/")}, SignedHeaders=${names}, Signature=${signature}`;
  const answer = await fetch(url, { method: "POST", body, headers: sent, signal: AbortSignal.timeout(30_000) });
  const xml = await answer.text();
  if (!answer.ok) {
    const code = element(xml, "Code") ?? answer.status;
    throw Object.assign(new Error(`${action}: ${code}`), { code });
  }
  return xml;
}

/** Returns the text of the first element with a name. */
export const element = (xml, name) => xml.match(new RegExp(`<${name}>([^<]*)</${name}>`))?.[1];
