import http from "k6/http";
import { check, sleep } from "k6";
import exec from "k6/execution";

const READ_STATUS = 200;
const CREATED = 201;

const variant = __ENV.VARIANT || Object.keys(PLAN.urls)[0];
if (!(variant in PLAN.urls)) {
  throw new Error(`VARIANT=${variant}: there are ${Object.keys(PLAN.urls).join(", ")}`);
}
const urls = {
  posts: __ENV.POSTS || PLAN.urls[variant].posts,
  comments: __ENV.COMMENTS || PLAN.urls[variant].comments,
  query: __ENV.QUERY || PLAN.urls[variant].query,
};

// One k6 scenario for each stretch with the same rate: k6 takes none shorter than a second, as some
// phases are. A rate is a whole number for k6: so it is given for a thousand seconds. Each request
// may take its whole time limit, and holds a VU so long.
function stretchScenarios() {
  const scenarios = {};
  PLAN.stretches.forEach((stretch, number) => {
    const users = Math.ceil(stretch.rate * PLAN.timeout_s) + 1;
    scenarios[`stretch_${number}`] = {
      executor: "constant-arrival-rate",
      exec: "arrive",
      rate: Math.round(stretch.rate * 1000),
      timeUnit: "1000s",
      startTime: `${Math.round(stretch.from_s * 1000)}ms`,
      duration: `${Math.round(stretch.seconds * 1000)}ms`,
      gracefulStop: `${Math.round(PLAN.timeout_s * 1000)}ms`,
      preAllocatedVUs: users,
      maxVUs: users,
    };
  });
  return scenarios;
}

// The phase at this moment, from the start of the first stretch.
function phaseNow() {
  const stretch = PLAN.stretches[Number(exec.scenario.name.split("_")[1])];
  const at_s = stretch.from_s + (Date.now() - exec.scenario.startTime) / 1000;
  const phase = PLAN.phases.find((each) => at_s < each.from_s + each.seconds);
  return (phase || PLAN.phases[PLAN.phases.length - 1]).name;
}

// k6 prints the figures of a phase and a kind of request only if a threshold names them. These hold
// always, but for the last one: a dropped iteration is a request that k6 did not send in time.
function phaseThresholds() {
  const thresholds = { dropped_iterations: ["count==0"] };
  for (const name of new Set(PLAN.phases.map((phase) => phase.name))) {
    for (const action of Object.keys(PLAN.mix)) {
      const tags = `{phase:${name},action:${action}}`;
      thresholds[`http_req_duration${tags}`] = ["max>=0"];
      thresholds[`checks${tags}`] = ["rate>=0"];
    }
  }
  return thresholds;
}

export const options = {
  scenarios: stretchScenarios(),
  thresholds: phaseThresholds(),
  summaryTrendStats: ["min", "med", "p(95)", "p(99)", "max"],
  tags: { variant },
};

const json = { "Content-Type": "application/json" };

function request(action, method, url, body, status) {
  const tags = { action, phase: phaseNow(), name: action };
  const params = { headers: json, timeout: `${Math.round(PLAN.timeout_s * 1000)}ms`, tags };
  const response = http.request(method, url, body && JSON.stringify(body), params);
  check(response, { "is answered": (answer) => answer.status === status }, tags);
  return response;
}

export function setup() {
  const posts = [];
  for (let number = 0; number < PLAN.seed_posts; number += 1) {
    const response = http.post(`${urls.posts}/posts`, JSON.stringify({ title: `k6 seed ${number}` }), { headers: json });
    if (response.status !== CREATED) {
      throw new Error(`${urls.posts} answered ${response.status}. Is the blog up? lab up both`);
    }
    posts.push(response.json("id"));
  }
  sleep(PLAN.settle_s); // until copies have the posts that comments need
  return { posts };
}

function drawn(mix) {
  let left = Math.random() * Object.values(mix).reduce((sum, weight) => sum + weight, 0);
  for (const [action, weight] of Object.entries(mix)) {
    left -= weight;
    if (left < 0) return action;
  }
  return Object.keys(mix)[0];
}

export function arrive(data) {
  const action = drawn(PLAN.mix);
  if (action === "read_feed") {
    request(action, "GET", `${urls.query}/feed?limit=20`, null, READ_STATUS);
  } else if (action === "create_post") {
    request(action, "POST", `${urls.posts}/posts`, { title: "a post of k6" }, CREATED);
  } else {
    const post = data.posts[Math.floor(Math.random() * data.posts.length)];
    const content = Math.random() < PLAN.orange ? "an orange" : "a lemon";
    request(action, "POST", `${urls.comments}/posts/${post}/comments`, { content }, CREATED);
  }
}
