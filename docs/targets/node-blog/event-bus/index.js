// Whatever it is told, it tells everybody: once. Who does not listen has missed it.
const { serve, post } = require('../web');

const events = [];
const everybody = [4000, 4001, 4002, 4003];

serve(process.env.PORT || 4005, {
  'GET /events': () => [200, events],
  'POST /events': ({ body }) => {
    events.push(body);
    for (const port of everybody) {
      post(`http://localhost:${port}/events`, body).catch((error) => console.log(error.message));
    }
    return [200, { status: 'OK' }];
  },
});
